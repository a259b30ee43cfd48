"""Finished runs, one JSON object a line, and the tables that are made of them."""

import csv
import json
import statistics
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from mae_plugin.files import locked

METRICS = ('knn', 'linear')


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        table: Name of its table, a folder of configs/ablations.
        name: What the table prints.
        paper: The paper's ``fine_tune`` and ``linear`` accuracy, where it has them.
        key: Digest of everything that the result depends on but the seed; rows with the same
            key are one run.
    """

    table: str
    name: str
    paper: dict
    key: str


class Results:
    """The file of finished runs; it survives an interruption at any point.

    Args:
        path: A ``.jsonl`` file, made when the first run finishes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs: dict[tuple[str, int], dict] = {}
        self._read()

    def _read(self) -> None:
        if self.path.is_file():
            for line in self.path.read_text().splitlines():
                run = json.loads(line)
                self.runs[run['key'], run['seed']] = run

    def add(self, run: dict) -> None:
        """Keep a finished run, with its ``key`` and ``seed``; the file is replaced as a whole.

        What another process has added since is kept too.
        """
        with locked(self.path.with_suffix('.lock')):
            self._read()
            self.runs[run['key'], run['seed']] = run
            partial = self.path.with_suffix('.partial')
            partial.write_text(''.join(json.dumps(run) + '\n' for run in self.runs.values()))
            partial.replace(self.path)

    def __contains__(self, run: tuple[str, int]) -> bool:
        return run in self.runs

    def of(self, row: Row, seeds: Iterable[int]) -> list[dict]:
        """The finished runs of a row."""
        return [self.runs[row.key, seed] for seed in seeds if (row.key, seed) in self.runs]


class Cell(NamedTuple):
    """Mean and sample standard deviation of a metric over seeds, None without runs."""

    mean: float | None
    std: float | None


def cell(runs: list[dict], metric: str) -> Cell:
    """Statistics of one metric of a row's runs."""
    values = [run[metric] for run in runs if run.get(metric) is not None]
    if not values:
        return Cell(None, None)
    return Cell(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def _show(value: Cell, digits: int) -> str:
    if value.mean is None:
        return '–'
    text = f'{value.mean:.{digits}f}'
    return text if value.std is None else f'{text} ± {value.std:.{digits}f}'


COLUMNS = (('knn', 1), ('linear', 1), ('loss', 3), ('iteration_ms', 1), ('cpu_ms', 1))


def markdown(rows: list[Row], results: Results, seeds: list[int]) -> str:
    """The table beside the paper's numbers, and how many of its orderings hold."""
    lines = [
        '| row | paper: fine-tune | paper: linear | kNN | linear | loss | wall ms / iteration | '
        'CPU ms / iteration | seeds |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    first_of: dict[str, str] = {}
    for row in rows:
        runs = results.of(row, seeds)
        paper = [str(row.paper.get(key, '–')) for key in ('fine_tune', 'linear')]
        ours = [_show(cell(runs, metric), digits) for metric, digits in COLUMNS]
        name = row.name
        if row.key in first_of:  # shrinking has rounded two rows to one size
            name += f' (here the same run as {first_of[row.key]})'
        first_of.setdefault(row.key, row.name)
        lines.append('| ' + ' | '.join([name, *paper, *ours, str(len(runs))]) + ' |')
    lines += ['', *(agreement(rows, results, seeds, metric) for metric in METRICS)]
    return '\n'.join(lines) + '\n'


def agreement(rows: list[Row], results: Results, seeds: list[int], metric: str) -> str:
    """One sentence: how many pairs of rows stand in the order of the paper's linear probe.

    Pairs less than half a point apart in the paper do not count. A difference is called clear
    when it exceeds the sum of the two standard deviations (with one seed none is).
    """
    held = reversed_ = clear_held = clear_reversed = 0
    for first, second in combinations(rows, 2):
        if first.key == second.key or not {'linear'} <= first.paper.keys() & second.paper.keys():
            continue
        ours = [cell(results.of(row, seeds), metric) for row in (first, second)]
        one, other = (c.mean for c in ours)
        expected = first.paper['linear'] - second.paper['linear']
        if abs(expected) < 0.5 or one is None or other is None:
            continue
        difference = one - other
        spreads = [c.std for c in ours if c.std is not None]
        clear = len(spreads) == 2 and abs(difference) > sum(spreads)
        if difference * expected > 0:
            held, clear_held = held + 1, clear_held + clear
        elif difference:
            reversed_, clear_reversed = reversed_ + 1, clear_reversed + clear
    if not held + reversed_:
        return f"{metric}: no pair of rows to compare with the paper's linear probe yet.  "
    return (
        f"{metric}: {held} of {held + reversed_} pairs are in the order of the paper's linear "
        f'probe ({clear_held} of them by more than both standard deviations together), '
        f'{reversed_} are not ({clear_reversed} of them clearly).  '
    )


def write_csv(path: Path, rows: list[Row], results: Results, seeds: list[int]) -> None:
    """Every finished run of a table, one line each."""
    metrics = [*(metric for metric, _ in COLUMNS), 'train_seconds']
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['table', 'row', 'paper_fine_tune', 'paper_linear', 'seed', *metrics])
        for row in rows:
            paper = [row.paper.get(key) for key in ('fine_tune', 'linear')]
            for run in results.of(row, seeds):
                values = [run.get(metric) for metric in metrics]
                writer.writerow([row.table, row.name, *paper, run['seed'], *values])


def draw(path: Path, rows: list[Row], results: Results, seeds: list[int], title: str) -> None:
    """Our kNN and linear probe with error bars, and the paper's linear probe beside them."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 0.45 * len(rows) + 1.6), sharey=True)
    places = range(len(rows))
    for metric, colour, shift in (('knn', 'tab:orange', -0.12), ('linear', 'tab:blue', 0.12)):
        cells = [cell(results.of(row, seeds), metric) for row in rows]
        points = [(c.mean, place + shift, c.std or 0) for c, place in zip(cells, places)]
        points = [point for point in points if point[0] is not None]
        if points:
            x, y, error = zip(*points)
            left.errorbar(x, y, xerr=error, fmt='o', color=colour, capsize=3, label=metric)
    if left.has_data():
        left.legend()
    for key, marker in (('linear', 'o'), ('fine_tune', 's')):
        theirs = [(row.paper[key], place) for row, place in zip(rows, places) if key in row.paper]
        if theirs:
            right.plot(*zip(*theirs), marker, color='tab:gray', label=key.replace('_', '-'))
    if right.has_data():
        right.legend()
    left.set_yticks(places, [row.name for row in rows])
    left.invert_yaxis()
    left.set_xlabel(f'here: top-1 (%), {len(seeds)} seeds')
    right.set_xlabel('paper: top-1 (%), ImageNet')
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
