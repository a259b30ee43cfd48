"""The input path: decode, crop and flip on one core, then disk, workers and shards.

Pipelines run in turn over the same JPEGs (made of scikit-image's photographs at 500 x 375 and
1600 x 1200, or yours with --data-root): this project's, with exact arithmetic, with four crops
per decoded image, and mmpretrain's, as shipped and with its one-line contiguity slip mended. Then
real data loaders are measured on the same images, as files and in shards, and the cores that a
GPU of a given speed needs are worked out. With other channels than 3, or .npy files, which the
peers do not read, only this project's are measured.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mae_plugin.errors import UserError

from .report import Report, Stat, add_common_arguments, alternate, describe, number, set_threads

if TYPE_CHECKING:
    import torch

SIZES = {(500, 375): 120, (1600, 1200): 32}
SHIPPED, MENDED = 'mmpretrain as shipped', 'mmpretrain mended'


def add_arguments(parser: ArgumentParser) -> None:
    """Command line of ``benchmark.py data``."""
    add_common_arguments(parser)
    parser.set_defaults(threads=1)
    parser.add_argument('--data-root', metavar='DIR', help='your images, searched recursively')
    parser.add_argument('--images', type=int, default=200, help='how many of yours to use')
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        default=[224],
        metavar='PIXELS',
        help='of the crops: one number, or height and width',
    )
    parser.add_argument('--channels', type=int, default=3, help='of the crops')
    parser.add_argument('--no-peers', action='store_true', help='measure this project alone')
    parser.add_argument(
        '--workers', type=int, nargs='*', help='workers to try; default: 1 and all cores'
    )
    parser.add_argument(
        '--gpu-rate', type=float, nargs='*', default=[500, 1000, 3000],
        help='images per second that your GPU trains at',
    )  # fmt: skip


def main(args: Namespace) -> None:
    """Measure and report.

    Raises:
        UserError: If ``--size`` is no size, a number is not positive, or no image has so many
            channels.
    """
    import cv2

    set_threads(args.threads)
    cv2.setNumThreads(0)
    from . import data_contestants as contestants

    if len(args.size) > 2 or min(*args.size, args.channels, args.images) < 1:
        raise UserError(
            f'--size {" ".join(map(str, args.size))} --channels {args.channels} --images '
            f'{args.images}: numbers must be positive, and --size one or two (height, width)'
        )
    size, channels = (args.size[0], args.size[-1]), args.channels
    with contestants.temporary_folder() as folder:
        sets = _image_sets(args, Path(folder))
        # Before anything else has read the files.
        disk = {name: _disk(paths) for name, paths in sets.items()}
        sets = {name: contestants.readable(paths, channels) for name, paths in sets.items()}
        args.images = sum(map(len, sets.values()))
        report = Report('Input path', describe(args))
        pipelines = {
            'mae_plugin': contestants.ours(size, channels=channels),
            'mae_plugin, 4 crops per image': contestants.ours(size, channels=channels, repeats=4),
            'mae_plugin, exact': contestants.ours(size, channels=channels, exact=True),
            'decode of the whole image alone': contestants.decode_alone(channels),
        }
        if _peers(args, sets, report) and contestants.mmpretrain_installed():
            pipelines[MENDED] = contestants.mmpretrain(size, mended=True)
            pipelines[SHIPPED] = contestants.mmpretrain(size, mended=False)
        for name, paths in sets.items():
            rates = alternate(
                {key: _pass_over(paths, run) for key, run in pipelines.items()}, args.rounds
            )
            report.table(f'One core, {name}', _rows(rates))
        jpegs = {
            name: [path for path in paths if path.lower().endswith(('.jpg', '.jpeg'))]
            for name, paths in sets.items()
            if channels == 3
        }
        rows = [_quality_row(name, paths, size) for name, paths in jpegs.items() if paths]
        if rows:
            report.table('Quality of the crops', rows)
        first = next(iter(sets.values()))
        report.table('Disk', [{'images': name, **row} for name, row in disk.items()])
        load = dict(type='LoadRandomResizedCrop', size=size, channels=channels)
        loaders = _loader_rates(args, first, Path(folder), load)
        report.table('Data loader, batches of 64', loaders)
        per_core = Stat(rates_of(loaders, workers=1))
        crop = pipelines['mae_plugin'](first[0], 0)['inputs']
        _note_needs(report, per_core.median, args.gpu_rate, crop)
        report.finish(args.out)


def _peers(args: Namespace, sets: dict[str, list[str]], report: Report) -> bool:
    """Whether mmpretrain's pipelines can run on the images; the report says why not."""
    arrays = any(path.lower().endswith('.npy') for paths in sets.values() for path in paths)
    if args.no_peers or (args.channels == 3 and not arrays):
        return not args.no_peers
    here = '.npy files' if arrays else f'--channels {args.channels}'
    report.note(f"mmpretrain's pipelines, which read pictures as RGB, are left out: {here}.")
    return False


def _image_sets(args: Namespace, folder: Path) -> dict[str, list[str]]:
    """Paths by a name for the set."""
    if args.data_root:
        from mae_plugin.datasets.image_folder import ImageFolder

        images = ImageFolder(args.data_root, labels=False)
        count = min(args.images, len(images))  # spread over all of them
        return {args.data_root: [images.path(i * len(images) // count) for i in range(count)]}
    from .data_contestants import make_photos

    sets = {}
    for (width, height), count in SIZES.items():
        target = folder / f'{width}x{height}'
        target.mkdir()
        sets[f'{width} x {height}'] = make_photos(target, (width, height), count)
    return sets


def _pass_over(paths: Sequence[str], run: Callable[[str, int], dict]) -> Callable[[], float]:
    """A measurement: crops per second of one pass over the images."""

    def measure() -> float:
        crops = 0
        start = time.perf_counter()
        for index, path in enumerate(paths):
            inputs = run(path, index)['inputs']
            crops += len(inputs) if inputs.ndim == 4 else 1  # 4: several crops of an image
        return crops / (time.perf_counter() - start)

    return measure


def _rows(rates: dict[str, list[float]]) -> list[dict]:
    """Rates, and ratios to the peers and to our single crop, round by round."""
    rows = []
    for name, values in rates.items():
        row: dict = {'pipeline': name, 'crops/s': Stat(values)}
        for label, peer in (('x mended', MENDED), ('x shipped', SHIPPED), ('x one crop', None)):
            base = rates['mae_plugin'] if peer is None else rates.get(peer)
            if base is not None:
                row[label] = Stat(a / b for a, b in zip(values, base, strict=True))
        rows.append(row)
    return rows


def _quality_row(name: str, paths: Sequence[str], size: tuple[int, int]) -> dict:
    from .data_contestants import quality

    found = quality(paths, size)
    return {
        'images': name,
        'PSNR to exact, median': f'{number(found["median"])} dB',
        'worst 5%': f'{number(found["worst"])} dB',
        'exact to Pillow, greatest': found['greatest'],
        'mean': found['mean'],
    }


def _disk(paths: Sequence[str]) -> dict:
    """Read whole files that the system was asked to forget (it may keep them all the same)."""
    if hasattr(os, 'posix_fadvise'):
        for path in paths:
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
    start = time.perf_counter()
    size = sum(len(Path(path).read_bytes()) for path in paths)
    seconds = time.perf_counter() - start
    return {
        'files': len(paths),
        'kB per file': size / len(paths) / 1e3,
        'files/s': len(paths) / seconds,
        'MB/s': size / seconds / 1e6,
    }


def _loader_rates(args: Namespace, paths: Sequence[str], folder: Path, load: dict) -> list[dict]:
    """Images per second of real loaders: files and shards in turn, for each worker count."""
    from mae_plugin.datasets import ImageFolder, ImageShards

    pipeline = [load, dict(type='PackInputs')]
    images = folder / 'files'
    images.mkdir()
    for index, path in enumerate(paths):
        os.symlink(os.path.abspath(path), images / f'{index:06d}{Path(path).suffix}')
    shards = _pack(images, folder / 'shards')
    datasets = {
        'files': ImageFolder(str(images), labels=False, index_cache=False, pipeline=pipeline),
        'shards': ImageShards(str(shards), labels=False, pipeline=pipeline),
    }
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    rows = []
    for workers in args.workers or sorted({1, cores or 1}):
        rates = alternate(
            {name: _load(dataset, workers) for name, dataset in datasets.items()}, args.rounds
        )
        for name, values in rates.items():
            rows.append({'images in': name, 'workers': workers, 'images/s': Stat(values)})
    return rows


def rates_of(rows: Sequence[dict], workers: int) -> list[float]:
    """All rates of the loader that reads files with so many workers, or else the fewest."""
    files = [row for row in rows if row['images in'] == 'files']
    chosen = next((row for row in files if row['workers'] == workers), files[0])
    return [value / max(1, chosen['workers']) for value in chosen['images/s'].values]


def _load(dataset, workers: int) -> Callable[[], float]:
    from torch.utils.data import DataLoader

    from mae_plugin.datasets import StreamSampler, stack_collate

    batch = min(64, len(dataset))
    # Each worker prepares two batches in advance: those are not in the time, and more are taken
    # in it than the workers could have ready.
    ahead, batches = 2 * workers, max(8, 4 * workers)

    def measure() -> float:
        sampler = StreamSampler(
            dataset,
            batch_size=batch,
            seed=0,
            repeats=1 + (ahead + batches + 1) * batch // len(dataset),
        )
        loader = DataLoader(
            dataset, batch, sampler=sampler, num_workers=workers, collate_fn=stack_collate
        )
        iterator = iter(loader)
        for _ in range(1 + ahead):
            next(iterator)
        start = time.perf_counter()
        for _ in range(batches):
            next(iterator)
        return batches * batch / (time.perf_counter() - start)

    return measure


def _pack(source: Path, target: Path) -> Path:
    from mae_plugin.cli.make_shards import make_shards

    make_shards(source, target, labels=False)
    return target


def _note_needs(
    report: Report, per_core: float, rates: Sequence[float], crop: torch.Tensor
) -> None:
    needs = ', '.join(f'{rate:.0f} images/s: {rate / per_core:.1f}' for rate in rates)
    report.note(
        f'One core feeds {number(per_core)} images/s through the loader. Cores that a GPU needs '
        f'when it trains at {needs}.'
    )
    dtype = str(crop.dtype).removeprefix('torch.')
    report.note(
        f'A batch crosses to the device as {dtype}: {crop.nbytes / 1e3:.0f} kB an image, '
        f'{number(max(rates) * crop.nbytes / 1e6)} MB/s at {max(rates):.0f} images/s.'
    )
