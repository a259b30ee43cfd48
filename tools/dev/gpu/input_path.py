"""Stage 5: crops a second for 1 to 16 workers, what the step needs, how long the GPU waits.

The step is that of ViT-B on a batch that is on the GPU already; the real one takes its batches
from the loader. What the real one takes longer is time in which the GPU is idle. For comparison
torchvision decodes on the GPU (nvJPEG), where it is installed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.contestants import Contestant, Options, ours, quiet
from benchmarks.report import seconds
from torch import Tensor
from torch.utils.data import DataLoader

from mae_plugin.datasets import (
    ImageFolder,
    LoadRandomResizedCrop,
    PackInputs,
    StreamSampler,
    stack_collate,
)

from .context import Context, Failure
from .photographs import batches, write_jpegs

ENOUGH_WORKERS = 8


@dataclass(frozen=True)
class Size:
    """The model and its batch; JPEGs; numbers of workers; batches of each that are timed."""

    options: Options
    photos: int
    photo_size: tuple[int, int]
    workers: tuple[int, ...]
    rounds: int
    steps: int


def main(context: Context) -> None:
    """Measure loaders, step, both together, and decoding on the GPU."""
    size = context.scale(
        Size(
            Options('base', batch_size=256, device='cuda', amp=True),
            1024,
            (500, 375),
            (1, 2, 4, 8, 12, 16),
            3,
            12,
        ),
        Size(
            Options('tiny', img_size=32, batch_size=4, decoder_depth=1), 8, (80, 60), (1, 2), 1, 2
        ),
    )
    folder = context.scratch / 'photos'
    paths = write_jpegs(folder, size.photos, size.photo_size, context.photos)
    rates = _loader_rates(context, folder, size)
    _step_and_loader(context, folder, size, rates)
    context.free()
    _device_decoding(context, paths, size)


def _step_and_loader(context: Context, folder: Path, size: Size, rates: dict[int, float]) -> None:
    with quiet():
        contestant = ours(size.options)
    contestant.step()
    own = _resident_rate(contestant, size)
    workers = min(ENOUGH_WORKERS, max(rates, default=1))
    real = context.attempt('real run', _real_rate, contestant, folder, size, workers)
    row: dict[str, Any] = {
        'step of': f'ViT-{size.options.arch}, batch {size.options.batch_size}',
        'images/s, batch on the device': own,
    }
    if isinstance(real, Failure):
        row['images/s, from the loader'] = str(real)
    else:
        row |= {
            'images/s, from the loader': real,
            'workers': workers,
            'the device is idle': f'{max(0.0, 1 - real / own):.0%}',
        }
    context.record.table('Step and loader', [row])
    context.record.goal(
        f'{workers} workers give more than the step takes',
        f'{rates.get(workers, 0.0):.0f} images/s',
        f'{own:.0f} images/s',
        rates.get(workers, 0.0) > own,
    )


def _loader(folder: Path, size: Size, workers: int) -> Iterator[dict]:
    dataset = ImageFolder(
        str(folder),
        labels=False,
        index_cache=False,
        seed=0,
        pipeline=[LoadRandomResizedCrop(size.options.img_size), PackInputs()],
    )
    batch = size.options.batch_size
    sampler = StreamSampler(dataset, batch, seed=0, repeats=10_000)
    return iter(
        DataLoader(
            dataset,
            batch,
            sampler=sampler,
            num_workers=workers,
            collate_fn=stack_collate,
            pin_memory=size.options.device == 'cuda',
        )
    )


def _loader_rates(context: Context, folder: Path, size: Size) -> dict[int, float]:
    """Images/s by number of workers, each after its first batches."""
    rates: dict[int, float] = {}
    cores = len(os.sched_getaffinity(0))
    for workers in size.workers:
        if workers > cores or context.left() < 15:
            break
        batches = _loader(folder, size, workers)
        for _ in range(workers):
            next(batches)
        count = size.rounds * workers
        start = time.perf_counter()
        for _ in range(count):
            next(batches)
        rates[workers] = count * size.options.batch_size / (time.perf_counter() - start)
        del batches
        context.record.table(
            f'Loader, JPEGs of {size.photo_size[0]} x {size.photo_size[1]} to crops of '
            f'{size.options.img_size} px, {cores} cores',
            [
                {'workers': key, 'images/s': rate, 'images/s a worker': rate / key}
                for key, rate in rates.items()
            ],
        )
    return rates


def _resident_rate(contestant: Contestant, size: Size) -> float:
    def run() -> None:
        for _ in range(size.steps):
            contestant.forward_backward()
            contestant.update()

    taken = min(seconds(run, size.options.device) for _ in range(2))
    return size.steps * size.options.batch_size / taken


def _real_rate(contestant: Contestant, folder: Path, size: Size, workers: int) -> float:
    """Images/s of steps on batches from the loader, preprocessed on the device."""
    loader = _loader(folder, size, workers)
    preprocess = contestant.model.data_preprocessor

    def run() -> None:
        for _ in range(2 * size.steps):
            contestant.images = preprocess(next(loader))['inputs']
            contestant.forward_backward()
            contestant.update()

    next(loader)
    taken = seconds(run, size.options.device)
    return 2 * size.steps * size.options.batch_size / taken


def _device_decoding(context: Context, paths: list[Path], size: Size) -> None:
    """Images/s of torchvision's decoder on the device, and of a crop and resize after it."""
    found = context.attempt('torchvision', _decode, context, paths, size)
    name = 'torchvision.io.decode_jpeg on the device'
    if isinstance(found, Failure):
        rows: list[dict[str, Any]] = [{'decoder': name, 'images/s': f'absent: {found}'}]
    else:
        rows = [
            {'decoder': name, 'images/s': found[0]},
            {'decoder': f'{name}, crop and antialiased resize', 'images/s': found[1]},
        ]
    context.record.table('Decoding on the device', rows)


def _decode(context: Context, paths: list[Path], size: Size) -> tuple[float, float]:
    from torchvision.io import ImageReadMode, decode_jpeg

    count = size.options.batch_size
    source = batches(paths, count)
    side = size.options.img_size

    def decode() -> list[Tensor]:
        encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in next(source)]
        return decode_jpeg(encoded, mode=ImageReadMode.RGB, device=context.device)

    def crop() -> Tensor:
        crops = [
            torch.nn.functional.interpolate(
                image[None, :, : image.shape[1] * 3 // 4].float(),
                size=(side, side),
                mode='bicubic',
                antialias=True,
            )
            for image in decode()
        ]
        return torch.cat(crops)

    rates = []
    for work in (decode, crop):
        work()
        rates.append(count / min(seconds(work, context.device) for _ in range(3)))
    return rates[0], rates[1]
