"""Which decoder a file needs, by its first bytes."""

import functools
import os

from mae_plugin.datasets.decoding.arrays import open_npy, open_tiff
from mae_plugin.datasets.decoding.avif import is_brand_box, open_avif
from mae_plugin.datasets.decoding.dicom import is_dicom, open_dicom
from mae_plugin.datasets.decoding.encoded_image import BadImageError, EncodedImage
from mae_plugin.datasets.decoding.jpeg import open_jpeg
from mae_plugin.datasets.decoding.jpeg2000 import MAGIC as JPEG2000_MAGIC
from mae_plugin.datasets.decoding.jpeg2000 import open_jpeg2000
from mae_plugin.datasets.decoding.pictures import open_picture, open_png
from mae_plugin.datasets.decoding.zarr_arrays import is_zarr, open_zarr

TIFF_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


def open_image(
    source: str | os.PathLike | bytes,
    channels: int | None,
    keep_depth: bool | None,
    windows: bool,
) -> EncodedImage:
    """Read the header of a file, whose format its first bytes tell.

    Args:
        source (str | Path | bytes): Path or contents.
        channels (int, optional): Channels wanted, where the axes of an array must be told apart.
        keep_depth (bool, optional): Whether values stay as they are measured (DICOM).
        windows (bool): Leave the pixels of a TIFF unread until a window of it is asked for.

    Raises:
        BadImageError: If it is no image, or has no sound header.
        OSError: If it cannot be read.
    """
    if isinstance(source, bytes):
        data = source
    else:
        path = os.fspath(source)
        if path.endswith('.npy'):
            return open_npy(path, channels)
        if path.rstrip(os.sep).endswith('.zarr') or is_zarr(path):
            return open_zarr(path, channels)
        with open(path, 'rb', buffering=0) as file:
            if windows:
                if file.read(4) in TIFF_MAGIC:
                    status = os.fstat(file.fileno())
                    return _tiff_header(path, status.st_size, status.st_mtime_ns)
                file.seek(0)
            data = file.read()
    if data.startswith(b'\xff\xd8\xff'):
        return open_jpeg(data)
    if data.startswith(b'\x89PNG\r\n\x1a\n'):
        return open_png(data)
    if data.startswith(TIFF_MAGIC):
        return open_tiff(data)
    if data.startswith(JPEG2000_MAGIC):
        return open_jpeg2000(data)
    if is_brand_box(data):
        return open_avif(data)
    if data.startswith(b'\x93NUMPY'):
        return open_npy(data, channels)
    if is_dicom(data):
        return open_dicom(data, keep_depth)
    if not data:
        raise BadImageError('empty file')
    return open_picture(data)


@functools.lru_cache(maxsize=8)
def _tiff_header(path: str, size: int, mtime: int) -> EncodedImage:
    """A slide's header, kept for its next windows: it lists a hundred thousand tiles."""
    return open_tiff(path)
