"""Write the demo's photographs: ``python tools/make_demo_data.py [--out data/demo]``.

They come from inside the scikit-image package, so nothing is downloaded. ``train/`` gets each
photograph shrunk as a whole, and overlapping tiles of it at twice that size, about 150 small JPEG
files: decoding and shrinking megapixels in each iteration would cost more than the tiny model's
own step. ``val/`` gets whole photographs that no training file shows any part of.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

TRAIN = (
    'astronaut.png',
    'brick.png',
    'camera.png',
    'coins.png',
    'grass.png',
    'gravel.png',
    'hubble_deep_field.jpg',
    'ihc.png',
    'moon.png',
    'motorcycle_left.png',
    'motorcycle_right.png',
    'retina.jpg',
    'rocket.jpg',
)
VAL = ('chelsea.png', 'coffee.png')
# Side of a tile, short side of a photograph shrunk as a whole; tiles overlap by half.
SIDE = 160
VAL_SIDE = 256
QUALITY = 92


def main() -> None:
    """Write the folders unless a complete earlier run left them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=Path('data/demo'), help='default: data/demo')
    out: Path = parser.parse_args().out
    recipe = repr((TRAIN, VAL, SIDE, VAL_SIDE, QUALITY))
    stamp = out / '.recipe'
    if stamp.exists() and stamp.read_text(encoding='utf-8') == recipe:
        print(f'{out} is complete already')
        return
    # Written beside and moved in place, so that an interruption leaves no half-filled folder.
    partial = out.with_name(out.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    count = write_photographs(photographs(), partial)
    (partial / '.recipe').write_text(recipe, encoding='utf-8')
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    print(f'{out}: {count} files from {len(TRAIN)} photographs in train, {len(VAL)} in val')


def photographs() -> Path:
    """The folder of the photographs inside the scikit-image package.

    Raises:
        SystemExit: If scikit-image is not installed.
    """
    spec = importlib.util.find_spec('skimage')
    if spec is None or spec.origin is None:
        raise SystemExit('scikit-image is not installed: pip install scikit-image')
    return Path(spec.origin).parent / 'data'


def write_photographs(source: Path, out: Path) -> int:
    """Write ``out/train`` and ``out/val``.

    Args:
        source: Folder that holds the files named in ``TRAIN`` and ``VAL``.
        out: Folder to fill.

    Returns:
        The number of training files.
    """
    train, val = out / 'train', out / 'val'
    for folder in (train, val):
        folder.mkdir(parents=True)
    count = 0
    for name in TRAIN:
        with Image.open(source / name) as photo:
            for label, view in views(photo.convert('RGB')):
                view.save(train / f'{Path(name).stem}_{label}.jpg', quality=QUALITY)
                count += 1
    for name in VAL:
        with Image.open(source / name) as photo:
            view = shrink(photo.convert('RGB'), VAL_SIDE)
            view.save(val / f'{Path(name).stem}.jpg', quality=QUALITY)
    return count


def views(photo: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """The whole photograph, shrunk, and overlapping tiles of it at twice that size."""
    yield 'whole', shrink(photo, SIDE)
    large = shrink(photo, 2 * SIDE)
    for top in _starts(large.height):
        for left in _starts(large.width):
            yield f'{top:03d}_{left:03d}', large.crop((left, top, left + SIDE, top + SIDE))


def shrink(photo: Image.Image, side: int) -> Image.Image:
    """Shrink ``photo`` until its short side is ``side`` px; a smaller one stays as it is."""
    scale = side / min(photo.size)
    if scale >= 1:
        return photo
    width, height = (round(length * scale) for length in photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS)


def _starts(length: int) -> list[int]:
    """Where tiles start along an axis of ``length`` px: half a tile apart, the last at the end."""
    last = length - SIDE
    return [*range(0, last - SIDE // 4, SIDE // 2), last]


if __name__ == '__main__':
    main()
