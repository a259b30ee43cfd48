"""Windows of large images: how many a second one core reads, and what a data worker takes.

A loader with one worker draws windows of the images of --data-root. The worker's memory is its
resident set after all of them, beside that of a worker that has read none yet: torch and Python,
of which a process of its own has the same.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from multiprocessing import active_children

from .report import Report, Stat, add_common_arguments, describe, set_threads


def add_arguments(parser: ArgumentParser) -> None:
    """Command line of ``benchmark.py windows``."""
    add_common_arguments(parser, rounds=3)
    parser.set_defaults(threads=1)
    parser.add_argument('--data-root', metavar='DIR', required=True, help='of large images')
    parser.add_argument('--windows', type=int, default=500, help='of a round')
    parser.add_argument('--size', type=int, default=224, metavar='PIXELS', help='of a window')
    parser.add_argument('--channels', type=int, default=3)
    parser.add_argument(
        '--scale', type=float, nargs=2, default=(1.0, 2.0), help='least and greatest side by size'
    )


def main(args: Namespace) -> None:
    """Measure and report."""
    import cv2
    from torch.utils.data import DataLoader

    from mae_plugin.datasets import WindowFolder

    from .memory import resident

    set_threads(args.threads)
    cv2.setNumThreads(0)
    load = dict(
        type='LoadRandomWindow', size=args.size, scale=tuple(args.scale), channels=args.channels
    )
    dataset = WindowFolder(
        args.data_root, window=args.size, samples=args.windows, labels=False,
        pipeline=[load, dict(type='PackInputs')],
    )  # fmt: skip
    rates, memory = [], []
    for _ in range(args.rounds):
        loader = DataLoader(dataset, 1, num_workers=1, collate_fn=len)
        iterator = iter(loader)
        (worker,) = (process.pid for process in active_children() if process.pid)
        empty = resident(worker)['Rss']
        next(iterator)  # the header
        start = time.perf_counter()
        for _ in range(len(dataset) - 3):  # the last of them are ready before they are asked for
            next(iterator)
        rates.append((len(dataset) - 3) / (time.perf_counter() - start))
        memory.append((resident(worker)['Rss'], empty))
        del iterator
    report = Report('Windows of large images', describe(args))
    report.table(
        'One worker',
        [
            {
                'windows/s': Stat(rates),
                'resident (MiB)': Stat(after for after, _ in memory),
                'before the first window': Stat(before for _, before in memory),
            }
        ],
    )
    report.finish(args.out)
