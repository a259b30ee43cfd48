"""Stage 2: short runs through tools/train.py on real JPEGs.

With deterministic algorithms one that is never interrupted, against one that is ended by SIGTERM
inside an epoch and resumed; and one that is compiled. Waits for the GPU after the warm-up are
noted in all, with the line that caused each.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from mae_plugin.checkpoint.safe_load import safe_load

from .context import Context
from .photographs import write_jpegs
from .runs import EPOCHS, REAL, TINY, Run, train, write_config


def main(context: Context) -> None:
    """Run all four and compare."""
    size = context.scale(REAL, TINY)
    photos = context.scratch / 'photos'
    write_jpegs(photos, size.photos, context.scale((500, 375), (80, 60)), context.photos)
    runs: dict[str, Run] = {}

    def run(name: str, changes: dict[str, Any], *arguments: str, work_dir: str = '') -> Run:
        config = context.scratch / f'{name}.py'
        write_config(config, photos, size, context.scale(8, 0), changes)
        folder = context.scratch / (work_dir or name)
        runs[name] = train(config, folder, size.batch, context.left() - 2, arguments)
        context.record.table('Runs', [each.row(key) for key, each in runs.items()])
        return runs[name]

    exact = dict(randomness=dict(seed=0, deterministic=True))
    straight = run('straight', dict(exact, watch={}))
    stop = dict(exact, watch=dict(stop_after=size.iterations // 2))
    interrupted = run('interrupted', stop, work_dir='resumed')
    resumed = run('resumed', dict(exact, watch={}), '--resume', 'auto')
    # On a CPU compiling takes longer than all else; the graph is captured all the same.
    switch = dict(backend='eager') if context.dry else True
    compiled = run('compiled', dict(compile=switch, watch=dict(compiled=True)))

    goal = context.record.goal
    differing = _differing_weights(straight, resumed)
    goal(
        'a resumed run equals an uninterrupted one bit for bit',
        differing or 'all weights equal',
        'all weights equal',
        not differing and interrupted.status == 143 and straight.losses == resumed.losses,
    )
    warned = {line for each in runs.values() for line in each.report.get('warnings', {})}
    goal('no wait for the GPU after warm-up', '; '.join(sorted(warned)) or 'none', '', not warned)
    goal(
        'compiled: one graph, and nothing compiled again',
        f'exit status {compiled.status}',
        'exit status 0',
        compiled.status == 0,
    )
    losses = [loss for each in runs.values() for loss in each.losses]
    wanted = 3 * EPOCHS * size.iterations
    goal(
        'every loss is finite',
        f'{sum(map(math.isfinite, losses))} of {wanted}',
        'all',
        len(losses) == wanted and all(map(math.isfinite, losses)),
    )


def _differing_weights(one: Run, other: Run) -> str:
    """What differs between the last checkpoints of two runs, in words; empty for nothing."""
    states = []
    for run in (one, other):
        path = Path(run.work_dir) / f'epoch_{EPOCHS}.pth'
        if not path.exists():
            return f'{run.work_dir.name} left no {path.name} (exit status {run.status})'
        states.append(safe_load(path)['state_dict'])
    names = [key for key, value in states[0].items() if not torch.equal(value, states[1][key])]
    return f'{len(names)} of {len(states[0])} tensors differ, first {names[0]}' if names else ''
