"""Real photographs for the tests of the input path."""

import io
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image


def touch(root: Path, *names: str) -> None:
    """Write files that only have names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'x')


def photo(width: int = 500, height: int = 375, name: str = 'astronaut') -> Image.Image:
    """A photograph of scikit-image, resized (not keeping its shape)."""
    return Image.fromarray(getattr(skimage.data, name)()).resize((width, height), Image.BICUBIC)


def encode(image: Image.Image, format: str = 'JPEG', **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def write_photos(folder, count: int, width: int = 96, height: int = 72) -> list[str]:
    """Write JPEGs that differ in content; their paths in the order of their names."""
    folder.mkdir(parents=True, exist_ok=True)
    image = np.asarray(photo(width + count, height))
    paths = []
    for number in range(count):
        path = folder / f'{number:04d}.jpg'
        path.write_bytes(encode(Image.fromarray(image[:, number : number + width]), quality=90))
        paths.append(str(path))
    return paths
