"""Stage 6: DDP and FSDP over NCCL on one GPU, the price of recomputing, memory against batch."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from typing import Any

import torch
from benchmarks.contestants import Contestant, Options, ours, quiet
from benchmarks.memory import peak_bytes
from benchmarks.report import seconds

from .context import Context, Failure
from .photographs import write_jpegs
from .runs import REAL, TINY, Run, train, write_config

# By name: what differs from the config; all but the first are distributed, of one process.
PLAIN = 'plain'
WRAPPED: dict[str, dict[str, Any]] = {
    PLAIN: {},
    'DDP': {},
    'FSDP': dict(runner_type='FlexibleRunner', strategy=dict(type='mae_plugin.FSDPStrategy')),
}
# Losses of one and the same run; FSDP adds up in another order.
LOSS_BOUND = 0.01


@dataclass(frozen=True)
class MemorySize:
    """Which model, and which batches."""

    options: Options
    batches: tuple[int, ...]
    checkpointing_batch: int


def main(context: Context) -> None:
    """Runs, then memory."""
    _wrapped_runs(context)
    size = context.scale(
        MemorySize(Options('large', device='cuda', amp=True), (64, 128, 256, 512), 256),
        MemorySize(Options('tiny', img_size=32, decoder_depth=1), (2,), 2),
    )
    _recomputing(context, size)
    _memory_against_batch(context, size)


def _wrapped_runs(context: Context) -> None:
    size = context.scale(REAL, TINY)
    photos = context.scratch / 'photos'
    write_jpegs(photos, size.photos, context.scale((500, 375), (80, 60)), context.photos)
    runs: dict[str, Run] = {}
    # Starting a run is most of a dry run's time: one goes through the same lines.
    for name in context.scale(tuple(WRAPPED), ('FSDP',)):
        changes = dict(
            WRAPPED[name],
            env_cfg=dict(dist_cfg=dict(backend=context.scale('nccl', 'gloo'))),
            watch={},
        )
        config = context.scratch / f'{name}.py'
        write_config(config, photos, size, context.scale(8, 0), changes)
        limit = min(context.left() - 2, 60)
        folder = context.scratch / name
        runs[name] = train(config, folder, size.batch, limit, distributed=name != PLAIN)
        context.record.table('One GPU', [run.row(key) for key, run in runs.items()])
    last = [run.losses[-1] for run in runs.values() if run.losses]
    spread = max(last) - min(last) if len(last) == len(runs) else float('nan')
    context.record.goal(
        'DDP and FSDP train as one process does',
        f'last losses differ by {spread:.1e}',
        f'up to {LOSS_BOUND}',
        spread <= LOSS_BOUND,
    )


def _recomputing(context: Context, size: MemorySize) -> None:
    options = replace(size.options, batch_size=size.checkpointing_batch)
    rows: list[dict[str, Any]] = []
    for recomputes in (False, True):
        row: dict[str, Any] = {'recomputing': 'yes' if recomputes else 'no'}
        found = context.attempt('recomputing', _step_and_memory, options, recomputes, 3)
        if isinstance(found, Failure):
            row['step (s)'] = str(found)
        else:
            row |= {'step (s)': found[0], 'peak memory (GiB)': found[1]}
        rows.append(row)
        context.free()
    title = f'Recomputing activations, ViT-{options.arch}, batch {options.batch_size}'
    context.record.table(title, rows)


def _memory_against_batch(context: Context, size: MemorySize) -> None:
    rows: list[dict[str, Any]] = []
    for batch in size.batches:
        options = replace(size.options, batch_size=batch)
        found = context.attempt(f'batch {batch}', _step_and_memory, options, False, 2)
        row: dict[str, Any] = {'batch': batch}
        if isinstance(found, Failure):
            rows.append(row | {'images/s': str(found)})
        else:
            row |= {'images/s': batch / found[0], 'peak memory (GiB)': found[1]}
            rows.append(row | {'MiB per image': 1024 * found[1] / batch})
        context.free()
        context.record.table(f'Memory against batch, ViT-{size.options.arch}', rows)
        if isinstance(found, Failure):
            break


def _step_and_memory(options: Options, recomputes: bool, rounds: int) -> tuple[float, float]:
    """Seconds of a step, the fastest of some, and its peak memory in GiB, parameters included."""
    with quiet():
        contestant = ours(options)
    _recompute(contestant, recomputes)
    contestant.step()
    held = torch.cuda.memory_allocated() if options.device == 'cuda' else 0
    peak = (held + peak_bytes(contestant.step, options.device)) / 2**30
    fastest = min(seconds(contestant.step, options.device) for _ in range(rounds))
    del contestant
    gc.collect()
    return fastest, peak


def _recompute(contestant: Contestant, recomputes: bool) -> None:
    contestant.model.backbone.use_checkpoint = recomputes
    contestant.model.decoder.use_checkpoint = recomputes
