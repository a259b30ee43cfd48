"""AVIF, and its sibling HEIC, which is refused: both begin with a box of their brands."""

import numpy as np
from PIL import features

from mae_plugin.datasets.decoding.encoded_image import BadImageError, EncodedImage
from mae_plugin.datasets.decoding.pictures import open_picture, pillow_header

_AVIF = (b'avif', b'avis')
_HEIC = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')


def is_brand_box(data: bytes) -> bool:
    """Whether a file begins as AVIF and HEIC do, with a box of brands of this family."""
    return data[4:8] == b'ftyp' and data[8:12] in _AVIF + _HEIC


def open_avif(data: bytes) -> EncodedImage:
    """Read the header of an AVIF; more than 8 bits come with all of them.

    Raises:
        BadImageError: If it is HEIC, which needs a patented decoder, or damaged.
    """
    brands = data[8 : int.from_bytes(data[:4], 'big')]
    if not any(brand in brands for brand in _AVIF):
        raise BadImageError(
            'HEIC is not read: convert it to JPEG, for example with "heif-convert a.heic a.jpg", '
            'or let the phone save JPEG ("most compatible")'
        )
    if not features.check('avif'):
        raise BadImageError("this Pillow reads no AVIF: pip install 'pillow>=11.3'")
    bits = _bits(data)
    if bits == 8:
        return open_picture(data)
    image = pillow_header(data)
    return EncodedImage(
        image.height, image.width, 4, lambda *_: _read(data), 2,
        orientation=image.getexif().get(274, 1), white=(1 << bits) - 1,
    )  # fmt: skip


def _bits(data: bytes) -> int:
    """8, 10 or 12, from the box that configures the AV1 decoder."""
    start = data.find(b'av1C')
    flags = data[start + 6] if 0 <= start < len(data) - 6 else 0
    if not flags & 0x40:
        return 8
    return 12 if flags & 0x20 else 10


def _read(data: bytes) -> np.ndarray:
    """(H, W, 1, 3 or 4) uint16, as stored, not turned."""
    import imagecodecs

    try:
        pixels = imagecodecs.avif_decode(data)
    except (imagecodecs.AvifError, ValueError) as error:
        raise BadImageError(f'damaged AVIF ({error})') from error
    return pixels if pixels.ndim == 3 else pixels[..., None]
