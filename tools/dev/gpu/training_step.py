"""Stage 3: training steps against other MAEs, alternating, and against the matrix-product bound.

Every contestant takes its own project's optimizer and precision: bfloat16 here, mmpretrain its
float16 with a loss scaler. The bound is what the step's useful operations would take at the rate
of a bfloat16 product of two 8192 x 8192 matrices, measured here. Patches have 16 px, ViT-H's 14.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from benchmarks.contestants import Contestant, Options, ours, quiet
from benchmarks.matmul import StepProducts, square_rate
from benchmarks.memory import peak_bytes
from benchmarks.report import Stat, alternate, ratio, seconds

from .context import Context, Failure
from .environment import usable_peers

OURS, COMPILED = 'mae_plugin', 'mae_plugin, compiled'
CROSS = 'mae_plugin, cross-attention decoder'
MMPRETRAIN = 'mmpretrain MAE'
WANTED_SPEED, WANTED_SHARE = 1.5, 0.5
Build = Callable[[Options], Contestant]


@dataclass(frozen=True)
class Group:
    """Contestants that take turns.

    Attributes:
        title: Heading.
        options: Model and batch.
        names: Contestants; those that are not there are left out.
        least: Seconds that must be left to begin, for compilation mostly.
    """

    title: str
    options: Options
    names: Sequence[str]
    least: float = 10


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, those before, steps in each, side of the bound's matrices."""

    rounds: int
    warmup: int
    steps: int
    side: int


def main(context: Context) -> None:
    """Measure group after group, those of most worth first."""
    effort = context.scale(Effort(5, 1, 5, 8192), Effort(1, 0, 1, 64))
    rate = square_rate(effort.side, context.device, torch.bfloat16) / 1e3
    context.record.table('Bound', [{'product': f'{effort.side}³, bfloat16', 'TFLOP/s': rate}])
    peers, absent = usable_peers()
    if absent:
        context.record.table('Peers that are absent', absent)
    builders = _builders(peers, dry=context.dry)
    for group in _groups(context, list(peers)):
        if context.left() < group.least:
            context.record.note(f'{group.title}: not measured, too little time was left')
            continue
        chosen = {name: builders[name] for name in group.names if name in builders}
        _measure(context, group, chosen, rate, effort)
        context.free()
    _largest_batch(context, effort)


def _builders(peers: dict[str, Build], dry: bool) -> dict[str, Build]:
    def compiled(options: Options) -> Contestant:
        # On a CPU compiling takes longer than all else; the graph is captured all the same.
        switch = dict(backend='eager') if dry else True
        return ours(replace(options, compile=switch))

    own = {OURS: ours, COMPILED: compiled, CROSS: lambda options: ours(options, 'cross')}
    return {**own, **peers}


def _groups(context: Context, peers: Sequence[str]) -> list[Group]:
    if context.dry:
        tiny = Options('tiny', img_size=32, batch_size=2, decoder_depth=1)
        return [Group('Tiny', tiny, [OURS, COMPILED, CROSS, *peers])]
    base = Options('base', batch_size=256, device='cuda', amp=True)
    large = replace(base, arch='large')
    huge = replace(base, arch='huge', patch_size=14)
    return [
        Group('ViT-B, batch 256', base, [OURS, *peers]),
        Group('ViT-L, batch 256', large, [OURS, MMPRETRAIN]),
        Group('ViT-H/14, batch 256', huge, [OURS, MMPRETRAIN]),
        Group('ViT-B, batch 256, compiled', base, [COMPILED, CROSS, OURS, MMPRETRAIN], 40),
        Group('ViT-L, batch 256, compiled', large, [COMPILED, OURS], 50),
        Group('ViT-H/14, batch 256, compiled', huge, [COMPILED, OURS], 60),
    ]


def _measure(
    context: Context, group: Group, builders: dict[str, Build], rate: float, effort: Effort
) -> None:
    contestants: dict[str, Contestant] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, build in builders.items():
        found = context.attempt(name, _prepare, build, group.options, context.device)
        if isinstance(found, Failure):
            rows[name] = {'model': name, 'images/s': str(found)}
        else:
            contestants[name], rows[name] = found
            rows[name]['model'] = name
    if not contestants:
        context.record.table(group.title, list(rows.values()))
        return
    runs = {
        name: partial(_seconds_of_steps, contestant, effort.steps, context.device)
        for name, contestant in contestants.items()
    }
    times = context.attempt(group.title, alternate, runs, effort.rounds, effort.warmup)
    if isinstance(times, Failure):
        context.record.note(f'{group.title}: {times}')
        return
    batch = group.options.batch_size
    for name, values in times.items():
        reached = rows[name].pop('TFLOP of a step') / Stat(values).median
        rows[name] |= {
            'images/s': Stat(batch / value for value in values),
            'step (ms)': 1e3 * Stat(values).median,
            'TFLOP/s': reached,
            'share of the bound': f'{reached / rate:.0%}',
        }
        if MMPRETRAIN in times:
            rows[name]["to mmpretrain's"] = ratio(times[MMPRETRAIN], values)
    context.record.table(group.title, list(rows.values()))
    _goals(context, group, rows, times, rate)


def _goals(
    context: Context,
    group: Group,
    rows: dict[str, dict[str, Any]],
    times: dict[str, list[float]],
    rate: float,
) -> None:
    own = COMPILED if COMPILED in times else OURS
    if own in times and MMPRETRAIN in times:
        speed = ratio(times[MMPRETRAIN], times[own]).median
        context.record.goal(
            f"{group.title}: step to mmpretrain's under AMP",
            f'{speed:.2f} x',
            f'{WANTED_SPEED} x',
            speed >= WANTED_SPEED,
        )
    if own in times and group.options.arch in ('large', 'huge'):
        share = rows[own]['TFLOP/s'] / rate
        context.record.goal(
            f'{group.title}: share of the bound by matrix products',
            f'{share:.0%}',
            f'{WANTED_SHARE:.0%}',
            share >= WANTED_SHARE,
        )


def _prepare(build: Build, options: Options, device: str) -> tuple[Contestant, dict[str, Any]]:
    """A contestant that has taken a step; its memory and its operations."""
    with quiet():
        contestant = build(options)
    contestant.step()  # optimizer states exist and kernels are chosen after it
    held = torch.cuda.memory_allocated() if device == 'cuda' else 0
    peak = peak_bytes(contestant.step, device)
    flops = StepProducts(contestant.forward_backward).flops
    contestant.optimizer.zero_grad(set_to_none=True)
    return contestant, {
        'model': '',
        'images/s': '',
        'activations and gradients (GiB)': peak / 2**30,
        'held by all before (GiB)': held / 2**30,
        'TFLOP of a step': flops / 1e12,
    }


def _seconds_of_steps(contestant: Contestant, steps: int, device: str) -> float:
    """Seconds of one step, of several that queue up as they do in training."""

    def run() -> None:
        for _ in range(steps):
            contestant.forward_backward()
            contestant.update()

    return seconds(run, device) / steps


def _largest_batch(context: Context, effort: Effort) -> None:
    """Speed of ViT-B at growing batches, until one does not fit."""
    options = context.scale(
        Options('base', device='cuda', amp=True), Options('tiny', img_size=32, decoder_depth=1)
    )
    rows: list[dict[str, Any]] = []
    for batch in context.scale((512, 1024, 2048, 4096), (1,)):
        if context.left() < 10:
            break
        found = context.attempt(
            f'batch {batch}', _one, replace(options, batch_size=batch), context, effort
        )
        row: dict[str, Any] = {'batch': batch}
        rows.append(row | ({'images/s': str(found)} if isinstance(found, Failure) else found))
        context.record.table(f'Growing batches, ViT-{options.arch}, {OURS}', rows)
        context.free()
        if isinstance(found, Failure):
            break


def _one(options: Options, context: Context, effort: Effort) -> dict[str, Any]:
    contestant, row = _prepare(ours, options, context.device)
    times = [
        _seconds_of_steps(contestant, effort.steps, context.device) for _ in range(effort.rounds)
    ]
    return {
        'images/s': Stat(options.batch_size / time for time in times),
        'activations and gradients (GiB)': row['activations and gradients (GiB)'],
    }
