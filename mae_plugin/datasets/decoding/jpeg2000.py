"""JPEG 2000: Pillow for 8 bits, imagecodecs for more, of which Pillow keeps only 8."""

import numpy as np

from mae_plugin.datasets.decoding.encoded_image import BadImageError, EncodedImage
from mae_plugin.datasets.decoding.pictures import open_picture

MAGIC = (b'\x00\x00\x00\x0cjP  \r\n\x87\n', b'\xff\x4f\xff\x51')  # a file, a bare codestream
_SIZE_MARKER = b'\xff\x4f\xff\x51'  # start of codestream, then its size


def open_jpeg2000(data: bytes) -> EncodedImage:
    """Read the header of a JPEG 2000 file: grey, colours or any bands, to 16 bits.

    Raises:
        BadImageError: If it has no sound header.
    """
    start = data.find(_SIZE_MARKER) + 4

    def number(offset: int, size: int) -> int:
        return int.from_bytes(data[start + offset : start + offset + size], 'big')

    bands = number(36, 2)
    if start < 4 or len(data) < start + 38 + 3 * bands or not bands:
        raise BadImageError('damaged JPEG 2000 (no size in it)')
    precisions = [number(38 + 3 * band, 1) for band in range(bands)]
    bits, signed = 1 + max(value & 127 for value in precisions), any(v & 128 for v in precisions)
    if bits <= 8 and not signed and bands <= 4:
        return open_picture(data)
    if bits > 16:
        raise BadImageError(f'JPEG 2000 of {bits} bits is not read; save it as TIFF')
    return EncodedImage(
        height=number(8, 4) - number(16, 4),
        width=number(4, 4) - number(12, 4),
        channels=bands,
        read=lambda *_: _read(data),
        itemsize=1 if bits <= 8 else 2,
        picture=bands <= 4 and not signed,
        white=(1 << bits) - 1,
        alpha=b'cdef' in data[:start],  # the box that says what a band is
    )


def _read(data: bytes) -> np.ndarray:
    import imagecodecs

    try:
        pixels = imagecodecs.jpeg2k_decode(data)
    except (imagecodecs.Jpeg2kError, ValueError) as error:
        raise BadImageError(f'damaged JPEG 2000 ({error})') from error
    return pixels if pixels.ndim == 3 else pixels[..., None]
