"""PNG and WebP through OpenCV, every other picture format through Pillow."""

import io
import re
import zlib

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mae_plugin.datasets.decoding.encoded_image import (
    BadImageError,
    EncodedImage,
    tiff_orientation,
)

# "P5 width height maxval" of a PGM or PPM, with comments between.
_NETPBM = re.compile(rb'P[56]' + rb'(?:\s|#[^\n]*\n)+(\d+)' * 3)


def open_png(data: bytes) -> EncodedImage:
    """Read a PNG's header and check the checksum of every chunk, which no decoder here does.

    Raises:
        BadImageError: If a chunk is missing, damaged or cut off.
    """
    orientation, position, kind, transparent = 1, 8, b'', False
    while kind != b'IEND':
        end = position + 8 + int.from_bytes(data[position : position + 4], 'big')
        if end + 4 > len(data):
            raise BadImageError('truncated PNG')
        kind = data[position + 4 : position + 8]
        body = memoryview(data)[position + 4 : end]
        if zlib.crc32(body) != int.from_bytes(data[end : end + 4], 'big'):
            raise BadImageError(f'damaged PNG (checksum of its {kind.decode("latin-1")} chunk)')
        if kind == b'eXIf':
            orientation = tiff_orientation(bytes(body[4:]))
        transparent |= kind == b'tRNS'
        position = end + 4
    if data[12:16] != b'IHDR':
        raise BadImageError('damaged PNG (no header)')
    deep = data[24] == 16
    if transparent and not deep:  # OpenCV overlooks a grey picture's transparent colour
        return open_picture(data)
    return EncodedImage(
        height=int.from_bytes(data[20:24], 'big'),
        width=int.from_bytes(data[16:20], 'big'),
        channels=4,
        read=lambda *_: _deep_png(data) if transparent else _opencv(data, 'PNG'),
        itemsize=2 if deep else 1,
        orientation=orientation,
    )


def open_picture(data: bytes) -> EncodedImage:
    """Read the header of any format that Pillow knows; the first frame of an animation counts.

    Raises:
        BadImageError: If no decoder knows it, or it is too large for Pillow.
    """
    netpbm = _NETPBM.match(data)
    if netpbm and int(netpbm[3]) > 255:  # Pillow cuts colours to 8 bits
        width, height, white = map(int, netpbm.groups())
        bands = 3 if data.startswith(b'P6') else 1
        if len(data) <= netpbm.end() + 2 * height * width * bands:
            raise BadImageError('truncated PNM')
        return EncodedImage(height, width, bands, lambda *_: _opencv(data, 'PNM'), 2, white=white)
    image = pillow_header(data)
    orientation = image.getexif().get(274, 1)
    width, height = image.size
    if image.format == 'WEBP' and not getattr(image, 'is_animated', False):
        # OpenCV takes half of Pillow's time.
        return EncodedImage(height, width, 4, lambda *_: _opencv(data, 'WebP'), 1, orientation)
    # Pillow turns the picture itself, and a TIFF's header already shows the turned size.
    if orientation >= 5 and image.format != 'TIFF':
        height, width = width, height
    return EncodedImage(height, width, 4, lambda *_: _pillow(image))


def pillow_header(data: bytes) -> Image.Image:
    """Open an image with Pillow, which reads its header and EXIF alone.

    Raises:
        BadImageError: If Pillow does not know it, or it has more pixels than Pillow opens.
    """
    try:
        image = Image.open(io.BytesIO(data))
        image.getexif()
    except UnidentifiedImageError as error:
        raise BadImageError('not an image of any known format') from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImageError(
            f'more pixels than Pillow opens, whatever max_bytes is ({error}): save it as PNG or '
            'as a grey or RGB TIFF, or cut it into parts'
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # each of Pillow's parsers stumbles in its own way
        raise BadImageError(f'damaged image ({error})') from error
    return image


def pillow_opens(height: int, width: int) -> bool:
    """Whether an image is within Pillow's own limit of pixels."""
    return Image.MAX_IMAGE_PIXELS is None or height * width <= 2 * Image.MAX_IMAGE_PIXELS


def _opencv(data: bytes, name: str) -> np.ndarray:
    """(H, W, 1, 3 or 4) uint8 or uint16, RGB order, alpha last."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # such as its own limit of pixels
        raise BadImageError(f'damaged or too large {name} ({error.err})') from error
    if pixels is None:
        raise BadImageError(f'damaged {name}')
    if pixels.ndim == 2:
        return pixels[..., None]
    swap = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(pixels, swap)


def _deep_png(data: bytes) -> np.ndarray:
    """(H, W, 2 or 4) uint16 of a PNG of 16 bits with one transparent colour."""
    import imagecodecs

    try:
        return imagecodecs.png_decode(data)
    except imagecodecs.PngError as error:
        raise BadImageError(f'damaged PNG ({error})') from error


def _pillow(image: Image.Image) -> np.ndarray:
    """(H, W, 1, 3 or 4), upright: uint8, uint16 (deep grey) or float32 (float grey)."""
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:
        raise BadImageError(f'damaged {image.format or "image"} ({error})') from error
    mode = image.mode
    if mode in ('P', 'PA', 'LA', 'La', 'RGBa') or 'transparency' in image.info:
        opaque = mode == 'P' and 'transparency' not in image.info
        image = image.convert('RGB' if opaque else 'RGBA')
    elif mode == '1':
        image = image.convert('L')
    elif mode == 'I':  # 32-bit holder of 16-bit values
        return np.asarray(image).clip(0, 65535).astype(np.uint16)[..., None]
    elif mode not in ('L', 'RGB', 'RGBA', 'F') and not mode.startswith('I;16'):
        image = image.convert('RGB')
    pixels = np.asarray(image)
    pixels = pixels.astype(pixels.dtype.newbyteorder('='), copy=False)
    return pixels if pixels.ndim == 3 else pixels[..., None]
