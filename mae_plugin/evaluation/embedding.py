"""Features of all images below a folder, in parts: what is done stays done.

Shapes: N images, D feature width.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mae_plugin.datasets import LoadResizeCenterCrop
from mae_plugin.datasets.crop_loader import CropLoader
from mae_plugin.datasets.crops import resize
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.evaluation.encoder import load_encoder
from mae_plugin.evaluation.stored_decoding import stored_decoding
from mae_plugin.files import atomic_path, atomic_write
from mae_plugin.models.token_pool import pool_tokens


@dataclass(frozen=True)
class Job:
    """What is embedded by what.

    Attributes:
        checkpoint: Any file that holds a ViT.
        paths: Full paths of the images.
        folder: Where the parts are kept.
        pools: 'avg', 'cls', 'cls-mean', or several.
        size: Side at which images are seen; that of pretraining when None.
        batch_size: Images at once.
        workers: Processes that decode.
        part_size: Images whose features are written at once.
        num_heads, config: See :func:`~mae_plugin.evaluation.encoder.load_encoder`.
    """

    checkpoint: str
    paths: Sequence[str] = field(repr=False)
    folder: str
    pools: tuple[str, ...] = ('avg',)
    size: int | None = None
    batch_size: int = 32
    workers: int = 0
    part_size: int = 256
    num_heads: int | None = None
    config: str | None = None

    @property
    def parts(self) -> range:
        """Numbers of the parts."""
        return range(-(-len(self.paths) // self.part_size))

    def part(self, number: int) -> Path:
        """The file of a part."""
        return Path(self.folder) / f'part_{number:06}.npz'

    def images(self, number: int) -> range:
        """Numbers of a part's images."""
        first = number * self.part_size
        return range(first, min(first + self.part_size, len(self.paths)))

    def fingerprint(self) -> str:
        """What the features depend on: options, the checkpoint, and size and time of each file."""
        told = asdict(self)
        for name in ('folder', 'batch_size', 'workers', 'paths'):
            told.pop(name)
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for path in (self.checkpoint, *self.paths):
            state = os.stat(path) if os.path.exists(path) else None
            stamp = (state.st_size, state.st_mtime_ns) if state else None
            digest.update(f'{path}\0{stamp}\0'.encode('utf-8', 'surrogateescape'))
        return digest.hexdigest()


class Part(NamedTuple):
    """Features of some images.

    Attributes:
        ids: Numbers of the images in ``Job.paths``, (N,).
        features: (N, D) float32 by pool.
        bad: Reason by number of each image that could not be used.
    """

    ids: np.ndarray
    features: dict[str, np.ndarray]
    bad: dict[int, str]


def prepare(job: Job) -> list[int]:
    """Make the folder of the parts; those of another job in it are removed.

    Returns:
        The parts that are left to do.
    """
    folder, mark = Path(job.folder), job.fingerprint()
    state = folder / 'job.txt'
    if folder.is_dir() and not (state.is_file() and state.read_text() == mark):
        shutil.rmtree(folder)
    atomic_write(state, mark.encode())
    return [number for number in job.parts if not job.part(number).is_file()]


def embed_parts(
    job: Job,
    parts: Sequence[int],
    device: str = 'cpu',
    threads: int | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> None:
    """Write some parts; a function of its arguments, for a process of its own.

    Args:
        job: The job.
        parts: Numbers of the parts.
        device: Where the encoder runs.
        threads: That compute, on a CPU.
        progress: Told of images as they are done.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    vit, preprocessor = load_encoder(job.checkpoint, job.num_heads, job.config)
    vit.to(device)
    preprocessor.to(device)
    height, width = (side * vit.patch_size for side in vit.grid)
    loading: dict[str, Any] = dict(
        size=(job.size, job.size) if job.size else (height, width),
        channels=vit.patch_embed.proj.in_channels,
        **stored_decoding(job.checkpoint, job.config),
    )
    batches = [
        list(job.images(part)[first : first + job.batch_size])
        for part in parts
        for first in range(0, len(job.images(part)), job.batch_size)
    ]
    loader = DataLoader(
        _Images(job.paths, loading),
        batch_sampler=batches,
        num_workers=job.workers,
        collate_fn=_stack,
        generator=torch.Generator(),
    )
    stream = iter(loader)
    counts = vit.num_prefix_tokens, vit.num_cls_tokens
    for part in parts:
        ids: list[int] = []
        bad: dict[int, str] = {}
        features: dict[str, list[np.ndarray]] = {pool: [] for pool in job.pools}
        while len(ids) + len(bad) < len(job.images(part)):
            numbers, pixels, reasons = next(stream)
            if numbers:
                with torch.inference_mode():
                    tokens = vit(preprocessor(dict(inputs=pixels))['inputs'])
                for pool, found in features.items():
                    pooled = pool_tokens(tokens, pool, *counts)
                    found.append(pooled.float().cpu().numpy())
            ids += numbers
            bad.update(reasons)
            progress(len(numbers) + len(reasons))
        none = np.zeros((0, vit.embed_dims), np.float32)
        arrays = {name: np.concatenate([none, *found]) for name, found in features.items()}
        with atomic_path(job.part(part)) as temporary, temporary.open('wb') as file:
            np.savez(
                file,
                ids=np.array(ids, np.int64),
                bad=np.array(json.dumps({str(number): why for number, why in bad.items()})),
                **{f'features_{name}': array for name, array in arrays.items()},  # type: ignore[arg-type]
            )


def read_parts(job: Job) -> Iterator[Part]:
    """All parts in order, one at a time."""
    for number in job.parts:
        with np.load(job.part(number), allow_pickle=False) as content:
            features = {pool: content[f'features_{pool}'] for pool in job.pools}
            bad = {int(image): why for image, why in json.loads(str(content['bad'])).items()}
            yield Part(content['ids'], features, bad)


class _Images(Dataset):
    """Image files, resized and cut at the centre; what cannot be used gives a reason.

    Of those that are too large to be decoded, the middle.
    """

    def __init__(self, paths: Sequence[str], loading: dict[str, Any]) -> None:
        self.paths = paths
        self.transform = LoadResizeCenterCrop(**loading)
        self.window = CentreWindow(**loading)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor | str]:
        try:
            results = dict(img_path=self.paths[index])
            image = self.window.open(results)
            load = self.transform if image.fits(image.max_scale) else self.window
            return index, load(results)['img'][0]
        except (BadImageError, OSError) as error:
            return index, ' '.join(str(error).split()) or repr(error)


class CentreWindow(CropLoader):
    """The middle of an image that is too large to be decoded, at half its resolution."""

    windows = True

    def __call__(self, results: dict) -> dict:
        """Fill ``img``."""
        image = self.open(results)
        height, width = (
            min(2 * side, total)
            for side, total in zip(self.size, (image.height, image.width), strict=True)
        )
        top, left = (image.height - height) // 2, (image.width - width) // 2
        pixels = image.convert(image.read_window(top, left, height, width))
        results['img'] = [resize(pixels, self.size, self.interpolation, False, self.exact)]
        return results


def _stack(
    samples: Iterable[tuple[int, Any]],
) -> tuple[list[int], torch.Tensor | None, dict[int, str]]:
    """Numbers and pixels (B, C, H, W) of the usable images, reasons of the others."""
    good, bad = [], {}
    for index, found in samples:
        if isinstance(found, str):
            bad[index] = found
        else:
            good.append((index, found))
    pixels = torch.stack([image for _, image in good]) if good else None
    return [index for index, _ in good], pixels, bad
