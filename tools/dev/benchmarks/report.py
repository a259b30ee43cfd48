"""Measurements in turn, their medians and spread, and a report as Markdown, JSON and plots.

Nothing heavy is imported at the top: ``tools/dev/benchmark.py --help`` needs no torch.

A measurement module has ``add_arguments(parser)`` and ``main(args)``::

    def main(args):
        samples = alternate({'ours': step_of_ours, 'peer': step_of_peer}, args.rounds)
        report = Report('Training step', describe(args))
        report.table('Step', [
            {'model': name, 'img/s': Stat(args.batch_size / t for t in times)}
            for name, times in samples.items()
        ])
        report.finish(args.out)
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mae_plugin.errors import UserError

Value = TypeVar('Value')


class Stat:
    """Median and spread of repeated measurements of one quantity.

    Args:
        values: The measurements, at least one.

    Raises:
        UserError: If there is none.
    """

    def __init__(self, values: Iterable[float]) -> None:
        self.values = sorted(values)
        if not self.values:
            raise UserError('no measurement to summarise: use at least one round')

    @property
    def median(self) -> float:
        """The middle measurement."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Quarter and three quarters of the way through the measurements."""
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, n=4, method='inclusive')
        return low, high

    def __str__(self) -> str:
        low, high = self.quartiles
        if len(self.values) < 2:
            return number(self.median)
        return f'{number(self.median)} ({number(low)} to {number(high)})'

    def to_json(self) -> dict[str, Any]:
        """Median, quartiles and every measurement."""
        return dict(median=self.median, quartiles=self.quartiles, values=self.values)


def ratio(values: Sequence[float], base: Sequence[float]) -> Stat:
    """How values compare with those of the same rounds: median and spread of the quotients."""
    return Stat(value / other for value, other in zip(values, base, strict=True))


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f'{value:.0f}'
    digits = 0
    while abs(value) * 10**digits < 100 and digits < 6:
        digits += 1
    return f'{value:.{digits}f}'


def alternate(
    contestants: Mapping[str, Callable[[], Value]], rounds: int, warmup: int = 1
) -> dict[str, list[Value]]:
    """Run contestants in turn, so that what disturbs the machine disturbs them alike.

    The order turns by one each round, so that nobody always follows the same neighbour.

    Args:
        contestants: Name to a function that does one measurement and returns its value.
        rounds: Measurements of each.
        warmup: Unrecorded ones before.

    Returns:
        The values of each, in the order of the rounds.
    """
    names = list(contestants)
    values: dict[str, list[Value]] = {name: [] for name in names}
    for index in range(-warmup, rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            value = contestants[name]()
            if index >= 0:
                values[name].append(value)
        step = f'warm-up {index + warmup + 1}' if index < 0 else f'round {index + 1}/{rounds}'
        print(f'\r{step}', end='', file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return values


def seconds(function: Callable[[], Any], device: str = 'cpu') -> float:
    """Wall-clock seconds of one call, the device's queued work included."""
    import torch

    def settle() -> None:
        if device.startswith('cuda'):
            torch.cuda.synchronize(device)

    settle()
    start = time.perf_counter()
    function()
    settle()
    return time.perf_counter() - start


def describe(args: Namespace) -> dict[str, Any]:
    """What was measured: the options that are set, and the machine (of ``args.device``)."""
    hidden = ('command', 'run', 'out')
    options = {k: v for k, v in vars(args).items() if k not in hidden and v not in (None, False)}
    return options | machine(getattr(args, 'device', 'cpu'))


def machine(device: str = 'cpu') -> dict[str, Any]:
    """What the numbers were measured on."""
    import torch

    facts: dict[str, Any] = dict(
        processor=processor(Path('/proc/cpuinfo')),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
    )
    if hasattr(os, 'getloadavg'):
        facts['load before'] = round(os.getloadavg()[0], 2)
    if device.startswith('cuda'):
        facts['gpu'] = torch.cuda.get_device_name(device)
    return facts


def processor(info: Path) -> str:
    """Its name, with what tells generations apart: many virtual machines leave that out of it."""
    if not info.exists():
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in info.read_text(encoding='utf-8', errors='replace').splitlines():
        key, colon, value = line.partition(':')
        if colon:
            facts.setdefault(key.strip(), value.strip())
    name = facts.get('model name') or platform.machine()
    if 'cpu family' in facts and 'model' in facts:
        name += f', family {facts["cpu family"]} model {facts["model"]}'
    return name


class Report:
    """Tables, notes and plots of one measurement, printed and written.

    Args:
        title: Heading.
        settings: What was measured: command-line values and the machine.
    """

    def __init__(self, title: str, settings: Mapping[str, Any]) -> None:
        self.title = title
        self.settings = dict(settings)
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.notes: list[str] = []
        self.plots: dict[str, dict[str, Any]] = {}

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a table; cells are :class:`Stat`, numbers or strings, columns the rows' keys."""
        self.tables[name] = [dict(row) for row in rows]

    def note(self, text: str) -> None:
        """Add a line under the tables."""
        self.notes.append(text)

    def plot(
        self,
        name: str,
        lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
        x_label: str,
        y_label: str,
        log: bool = True,
    ) -> None:
        """Add a plot of lines: label to (x values, y values)."""
        self.plots[name] = dict(lines=dict(lines), x_label=x_label, y_label=y_label, log=log)

    def markdown(self) -> str:
        """The report as Markdown."""
        parts = [f'# {self.title}', '']
        parts += [
            ', '.join(f'{key.replace("_", " ")}: {value}' for key, value in self.settings.items()),
            '',
        ]
        for name, rows in self.tables.items():
            columns = list(dict.fromkeys(key for row in rows for key in row))
            parts += [f'## {name}', '', _row(columns), _row(['---'] * len(columns))]
            parts += [_row([_cell(row.get(column, '')) for column in columns]) for row in rows]
            parts.append('')
        parts += [f'- {note}' for note in self.notes]
        parts += [f'![{name}]({_slug(name)}.png)' for name in self.plots]
        return '\n'.join(parts).rstrip() + '\n'

    def to_json(self) -> dict[str, Any]:
        """The report with every single measurement."""
        return dict(
            title=self.title,
            settings=self.settings,
            tables=self.tables,
            notes=self.notes,
            plots=self.plots,
        )

    def finish(self, out: str | None = None) -> None:
        """Print the report; write NAME.md, NAME.json and plots into the folder ``out``."""
        print(self.markdown())
        if out is None:
            return
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / _slug(self.title)
        stem.with_suffix('.md').write_text(self.markdown(), encoding='utf-8')
        text = json.dumps(self.to_json(), indent=1, default=_encode)
        stem.with_suffix('.json').write_text(text, encoding='utf-8')
        for name, plot in self.plots.items():
            _draw(folder / f'{_slug(name)}.png', name, **plot)
        print(
            f'written: {stem}.md, {stem.name}.json'
            + ''.join(f', {_slug(p)}.png' for p in self.plots)
        )


def _row(cells: Iterable[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return str(value)


def _slug(text: str) -> str:
    return '_'.join(''.join(c if c.isalnum() else ' ' for c in text.lower()).split())


def _encode(value: Any) -> Any:
    return value.to_json() if isinstance(value, Stat) else str(value)


def _draw(
    path: Path,
    title: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    log: bool,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout='constrained')
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    for label, (x, y) in lines.items():
        axes.plot(x, y, marker='o', label=label)
    if log:
        axes.set_xscale('log', base=2)
        axes.set_yscale('log', base=2)
        axes.set_xticks(sorted({x for xs, _ in lines.values() for x in xs}))
        axes.tick_params(axis='x', labelsize='small')
        axes.xaxis.set_major_formatter('{x:g}')
        axes.yaxis.set_major_formatter('{x:.3g}')
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def add_common_arguments(parser: ArgumentParser, rounds: int = 5) -> None:
    """Arguments of every measurement: ``--rounds``, ``--threads``, ``--out``."""
    parser.add_argument('--rounds', type=int, default=rounds, help='measurements of each')
    parser.add_argument('--threads', type=int, help='CPU threads of torch; default: its own')
    parser.add_argument('--out', metavar='DIR', help='write report and plots there')


def set_threads(threads: int | None) -> None:
    """Set torch's thread count, if one is given."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
