"""The pictures that scenes are made of, split so that train and validation share none."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mae_plugin.errors import UserError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff')


@dataclass
class Library:
    """Decoded pictures of one split.

    Attributes:
        cutouts: For each class, its cut-outs as (h, w, 4) uint8 RGBA, cropped to their alpha.
        photos: Backgrounds as (h, w, 3) uint8 RGB.
    """

    cutouts: list[list[np.ndarray]]
    photos: list[np.ndarray]


def folder_cutouts(folder: Path) -> dict[str, list[Path]]:
    """Class name -> its cut-outs, from a folder with one sub-folder of RGBA files per class.

    Raises:
        UserError: When there is no class folder.
    """
    names = sorted(path.name for path in folder.glob('*') if path.is_dir())
    classes = {name: folder_photos(folder / name) for name in names}
    if not classes:
        raise UserError(f'{folder} has no sub-folders; expected {folder}/<class name>/*.png')
    return classes


def folder_photos(folder: Path) -> list[Path]:
    """All pictures below a folder, in a fixed order."""
    return [path for path in sorted(folder.rglob('*')) if path.suffix.lower() in SUFFIXES]


def unique(paths: list[Path]) -> list[Path]:
    """Drop files with the content of an earlier one: a double would leak across the split."""
    first: dict[str, Path] = {}
    for path in paths:
        first.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    return list(first.values())


def split_paths(
    paths: list[Path], val_fraction: float, rng: np.random.Generator, what: str
) -> tuple[list[Path], list[Path]]:
    """Split files into a train and a validation part, each of at least one.

    Raises:
        UserError: With fewer than two different files.
    """
    paths = unique(paths)
    if len(paths) < 2:
        raise UserError(
            f'{what}: {len(paths)} different file(s); at least 2 are needed, one for each split'
        )
    order = rng.permutation(len(paths))
    num_val = min(max(round(len(paths) * val_fraction), 1), len(paths) - 1)
    val = set(order[:num_val].tolist())
    return (
        [path for i, path in enumerate(paths) if i not in val],
        [path for i, path in enumerate(paths) if i in val],
    )


def load_cutout(path: Path, max_side: int) -> np.ndarray:
    """Read one cut-out: (h, w, 4) uint8 RGBA, cropped to its alpha, at most ``max_side`` long.

    Raises:
        UserError: When the file has no transparent or no opaque pixels.
    """
    with Image.open(path) as image:
        image = image.convert('RGBA')
    box = image.getchannel('A').point(lambda value: 255 if value >= 128 else 0).getbbox()
    if box is None or image.getchannel('A').getextrema()[0] == 255:
        raise UserError(f'{path} is no cut-out: its alpha channel is empty or opaque throughout')
    image = image.crop(box)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def load_photo(path: Path, min_side: int) -> np.ndarray:
    """Read one photograph: (h, w, 3) uint8 RGB, its shorter side shrunk to ``min_side``."""
    with Image.open(path) as image:
        image.draft('RGB', (2 * min_side, 2 * min_side))  # JPEG: decode at a fraction of the size
        image = image.convert('RGB')
    ratio = min_side / min(image.size)
    if ratio < 1:
        size = tuple(max(round(side * ratio), 1) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)


def load_library(cutouts: list[list[Path]], photos: list[Path], size: tuple[int, int]) -> Library:
    """Decode one split.

    Args:
        cutouts: For each class, its files.
        photos: Backgrounds.
        size: Scenes' (width, height); it bounds the resolution worth keeping.
    """
    return Library(
        cutouts=[[load_cutout(path, max(size)) for path in paths] for paths in cutouts],
        photos=[load_photo(path, 3 * max(size)) for path in photos],
    )
