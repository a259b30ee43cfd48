"""Twelve kinds of broken images, for the tests of the input path and of whole runs."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image


class _Boom:
    """Unpickling this would leave a file behind."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self):
        return open, (self.trace, 'w')


def _encode(image: np.ndarray, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, **options)
    return buffer.getvalue()


def _erase(data: bytes, where: float, count: int) -> bytes:
    """As flash memory reads after a block is erased."""
    start = int(len(data) * where)
    return data[:start] + b'\xff' * count + data[start + count :]


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack('>I', zlib.crc32(kind + body))
        return struct.pack('>I', len(body)) + kind + body + checksum

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', pixels)
        + chunk(b'IEND', b'')
    )


def write_broken_images(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Write one broken image of each kind.

    Args:
        folder (Path): Where to; made if missing.
        seed (int): Of the picture inside, so that several sets differ.

    Returns:
        dict[str, Path]: Path by kind. Should anything unpickle the ``pickled_npy``, a file
        ``EXECUTED`` appears in ``folder``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8))
    image = np.asarray(coarse.resize((128, 96), Image.BICUBIC))
    jpeg = _encode(image, 'JPEG', quality=90)
    png = _encode(image, 'PNG')
    webp = _encode(image, 'WEBP', quality=90)
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, image, photometric='rgb')
    pickled = np.empty((2, 2), object)
    pickled[:] = [[_Boom(str(folder / 'EXECUTED'))] * 2] * 2
    npy = io.BytesIO()
    np.save(npy, pickled, allow_pickle=True)
    contents = {
        'empty.jpg': b'',
        'garbage.jpg': rng.integers(0, 255, 4000, np.uint8).tobytes(),
        'html.jpg': b'<!DOCTYPE html><html><body>404 Not Found</body></html>\n' * 40,
        'truncated_jpeg.jpg': jpeg[: len(jpeg) // 2],
        'damaged_jpeg.jpg': _erase(jpeg, 0.5, 512),
        'truncated_png.png': png[: len(png) // 2],
        'damaged_png.png': _erase(png, 0.5, 8),
        'bomb_png.png': _png_header(50_000, 50_000),
        'truncated_webp.webp': webp[: len(webp) // 2],
        'truncated_tiff.tif': tiff.getvalue()[: len(image.tobytes()) // 2],
        'pickled_npy.npy': npy.getvalue(),
    }
    paths = {}
    for name, data in contents.items():
        paths[name.split('.')[0]] = folder / name
        (folder / name).write_bytes(data)
    paths['vanished'] = folder / 'vanished.jpg'
    if not paths['vanished'].is_symlink():
        os.symlink(folder / 'nothing-here.jpg', paths['vanished'])
    return paths
