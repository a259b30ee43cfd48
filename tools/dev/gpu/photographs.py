"""Real photographs that installed packages carry, and JPEG files cut from them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

# Package, folder in it, and which of its files are photographs.
SOURCES = {
    'skimage': (
        'data',
        'astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png '
        'hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png retina.jpg rocket.jpg',
    ),
    'sklearn': ('datasets/images', 'china.jpg flower.jpg'),
    'matplotlib': ('mpl-data/sample_data', 'grace_hopper.jpg'),
}
ENDINGS = ('.jpg', '.jpeg', '.png', '.webp')
QUALITY = 90


def photographs(more: Path | None = None) -> list[Path]:
    """Files of photographs: those of the packages that are installed, and all of a folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = []
    for package, (folder, names) in SOURCES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            paths = (Path(spec.origin).parent / folder / name for name in names.split())
            found += [path for path in paths if path.exists()]
    if more is not None:
        found += sorted(path for path in more.rglob('*') if path.suffix.lower() in ENDINGS)
    if not found:
        raise FileNotFoundError('no photographs: install scikit-image, or give --photos a folder')
    return found


def write_jpegs(
    folder: Path, count: int, size: tuple[int, int], more: Path | None = None
) -> list[Path]:
    """Cut crops of the photographs in turn and save them as JPEGs of quality 90.

    Args:
        folder: Where to; made.
        count: How many files.
        size: Width and height of each.
        more: Folder with more photographs.
    """
    folder.mkdir(parents=True)
    images = [_open(path) for path in photographs(more)]
    rng = np.random.default_rng(0)
    paths = []
    for number, image in enumerate(islice(cycle(images), count)):
        path = folder / f'{number:05d}.jpg'
        _crop(image, size, rng, (0.0, 1.0)).save(path, quality=QUALITY)
        paths.append(path)
    return paths


def write_classes(
    folder: Path, side: int, train: int, test: int, more: Path | None = None
) -> tuple[Path, Path]:
    """Make a task of telling from which photograph a crop comes, one class for each.

    Training crops come from the left three fifths of a photograph, test crops from the right two:
    no pixel is in both.

    Args:
        folder: Gets ``train/<class>`` and ``test/<class>``.
        side: Side of a crop in px.
        train: Training crops of each photograph.
        test: Test crops of each.
        more: Folder with more photographs.

    Returns:
        The two folders.
    """
    rng = np.random.default_rng(0)
    for number, path in enumerate(photographs(more)):
        image = _open(path)
        for part, count, columns in (('train', train, (0.0, 0.6)), ('test', test, (0.6, 1.0))):
            target = folder / part / f'{number:03d}_{path.stem}'
            target.mkdir(parents=True)
            for index in range(count):
                crop = _crop(image, (side, side), rng, columns)
                crop.save(target / f'{index:03d}.jpg', quality=QUALITY)
    return folder / 'train', folder / 'test'


def batches(paths: list[Path], size: int) -> Iterator[list[bytes]]:
    """Endless lists of ``size`` files' content, as a reader of files has them in memory."""
    contents = cycle([path.read_bytes() for path in paths])
    while True:
        yield list(islice(contents, size))


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert('RGB')


def _crop(
    image: Image.Image, size: tuple[int, int], rng: np.random.Generator, columns: tuple
) -> Image.Image:
    """A random crop of an aspect ratio, between two shares of the width, resized to ``size``."""
    left_end, right_end = (share * image.width for share in columns)
    widest = min(right_end - left_end, image.height * size[0] / size[1])
    width = rng.uniform(0.5, 1.0) * widest
    height = width * size[1] / size[0]
    left = rng.uniform(left_end, right_end - width)
    top = rng.uniform(0, image.height - height)
    box = (left, top, left + width, top + height)
    return image.resize(size, Image.Resampling.BICUBIC, box=box)
