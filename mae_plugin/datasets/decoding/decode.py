"""Any image file to an array of a stated number of channels.

Rules, the same for every format:

* The picture is turned upright by its EXIF orientation.
* Palettes are looked up; CMYK, YCbCr, Lab and HSV become RGB.
* A file that has ``channels`` channels (alpha included) is taken as it is. Otherwise alpha, where
  the format says that it is, is composited onto ``background`` (white, what viewers show), and
  then grey becomes RGB by repetition, RGB becomes grey by the luma of ITU-R BT.601 (JPEG's own),
  and anything else is an error that names both numbers.
* Pictures of up to four channels with 16 bits are rounded to 8 (divided by 257). ``.npy`` arrays,
  floats and TIFFs of more than four bands keep their dtype and values.
* Floats that are NaN, infinite or a fill value such as -3.4e38 make the crop that holds them
  unusable: they would spoil the loss of a whole batch.
* Nothing is decoded before the header says that it needs at most ``max_bytes``.
"""

import math
import os

import numpy as np

from mae_plugin.datasets.decoding.arrays import open_npy, open_tiff
from mae_plugin.datasets.decoding.jpeg import open_jpeg
from mae_plugin.datasets.decoding.pictures import open_picture, open_png
from mae_plugin.datasets.decoding.raw_image import BadImageError, RawImage

MAX_BYTES = 1 << 28  # 89 megapixels of RGB, the limit at which Pillow warns
MAX_VALUE = 1e18  # the square of it, which the loss takes, is still a float32
_TIFF_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


class ImageSource:
    """One image, header first.

    Args:
        source (str | Path | bytes): Path or contents of the file.
        channels (int, optional): Channels wanted; None takes what the file has.
        background (int): Grey value (0 to 255) that shows through transparent pixels.
        max_bytes (int): Images that decode to more are refused from their header.

    Attributes:
        height, width (int): Size as displayed, that is after EXIF orientation.
        max_scale (int): The largest ``scale`` that :meth:`read` takes: 1 if it is not a JPEG.

    Raises:
        BadImageError: If the header cannot be read or announces too large an image.
        OSError: If the file cannot be read.
    """

    def __init__(
        self,
        source: str | os.PathLike | bytes,
        channels: int | None = 3,
        background: int = 255,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.channels = channels
        self.background = background
        self._raw = raw = _open(source, channels)
        if raw.nbytes > max_bytes:
            raise BadImageError(
                f'{raw.width}x{raw.height} needs {raw.nbytes} bytes, more than '
                f'max_bytes={max_bytes}; shrink it or raise the limit'
            )
        if raw.height < 1 or raw.width < 1:
            raise BadImageError(f'{raw.width}x{raw.height} is empty')
        turned = raw.orientation >= 5
        self.height, self.width = (raw.width, raw.height) if turned else (raw.height, raw.width)
        self.max_scale = 1
        if raw.can_scale:  # a turned image must hold whole pixels of the smaller one
            self.max_scale = 8 if raw.orientation == 1 else math.gcd(raw.height, raw.width, 8)

    def read(self, scale: int = 1, fast: bool = False) -> np.ndarray:
        """Decode, upright but with the file's own channels.

        Args:
            scale (int): Decode at ``1 / scale`` (1, 2, 4, 8), at most :attr:`max_scale`.
            fast (bool): Allow the cheaper upsampling of a JPEG's chroma.

        Returns:
            np.ndarray: (ceil(height / scale), ceil(width / scale), C of the file), maybe a view.

        Raises:
            BadImageError: If the file is truncated or damaged.
        """
        pixels = self._raw.read(scale, fast, self.channels == 1)
        return orient(pixels, self._raw.orientation)

    def convert(self, pixels: np.ndarray) -> np.ndarray:
        """Bring (a crop of) what :meth:`read` gave to the channels asked for.

        Args:
            pixels (np.ndarray): (h, w, C of the file).

        Returns:
            np.ndarray: (h, w, channels), contiguous; uint8, or the file's dtype for arrays.

        Raises:
            BadImageError: If there is no rule from the file's channels to those asked for, or
                float pixels hold values that are not finite.
        """
        if pixels.dtype.kind == 'f':
            refuse_unusable(pixels)
        if self._raw.picture and pixels.dtype == np.uint16:
            pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        background = self.background if self._raw.alpha else None
        size = self.height, self.width
        return np.ascontiguousarray(match_channels(pixels, self.channels, background, size))


def decode(
    source: str | os.PathLike | bytes,
    channels: int | None = 3,
    background: int = 255,
    max_bytes: int = MAX_BYTES,
) -> np.ndarray:
    """Decode a whole image by the rules above: (H, W, channels)."""
    image = ImageSource(source, channels, background, max_bytes)
    return image.convert(image.read())


def orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels (H, W, C) upright by EXIF orientation 1 to 8, as a view."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def match_channels(
    pixels: np.ndarray,
    channels: int | None,
    background: int | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Bring (H, W, C) pixels to ``channels`` by the rules of this module.

    Args:
        pixels (np.ndarray): (H, W, C).
        channels (int, optional): Channels wanted; None takes what there is.
        background (int, optional): What shows through the last of two or four uint8 channels;
            None where that is no alpha, but a band like the others.
        size (tuple[int, int], optional): Height and width of the whole image, if ``pixels`` are a
            crop of it.

    Raises:
        BadImageError: If there is no rule; the message names both numbers and the size.
    """
    found = pixels.shape[2]
    if channels is None or found == channels:
        return pixels
    transparent = found in (2, 4) and pixels.dtype == np.uint8
    if background is not None and transparent and channels in (1, 3):
        pixels = _composite(pixels, background)
    if pixels.shape[2] == channels:
        return pixels
    if pixels.shape[2] == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 3 and channels == 1:
        return _luma(pixels)
    raise BadImageError(
        f'the image has {found} channels, but {channels} are asked for; '
        f'{_way_out(size or pixels.shape[:2], found, channels)}'
    )


def _way_out(size: tuple[int, ...], found: int, channels: int) -> str:
    """What to do about an image of other channels, which may only have been written wrongly."""
    read = f'read as {size[0]} high, {size[1]} wide, of {found} bands'
    if found > 4 and channels in size:
        return (
            f'{read}: its axes look swapped. Save arrays of (height, width, bands) with '
            f"np.save(path, array) or tifffile.imwrite(path, array, photometric='minisblack', "
            f"planarconfig='contig'): without these, tifffile takes the first axis for pages"
        )
    return f'set channels={found} (and in_channels, mean and std) or convert the files ({read})'


def refuse_unusable(pixels: np.ndarray) -> None:
    """Refuse float pixels with values that no loss can be computed from.

    Raises:
        BadImageError: If any is NaN, infinite or beyond :data:`MAX_VALUE`; it says how many.
    """
    usable = np.abs(pixels) <= min(MAX_VALUE, float(np.finfo(pixels.dtype).max))
    if not usable.all():
        count = usable.size - np.count_nonzero(usable)
        raise BadImageError(
            f'{count} of the {usable.size} values cut from it are NaN, infinite or beyond '
            f'{MAX_VALUE:.0e} (a fill value); fill them in the file, for example with the '
            f"band's mean, or leave the file out"
        )


def _composite(pixels: np.ndarray, background: int) -> np.ndarray:
    colour, alpha = pixels[..., :-1], pixels[..., -1:].astype(np.uint16)
    mixed = colour * alpha + background * (255 - alpha) + 127
    return (mixed // 255).astype(np.uint8)


def _luma(pixels: np.ndarray) -> np.ndarray:
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if pixels.dtype.kind in 'bui':
        grey = np.rint(grey)
    return grey.astype(pixels.dtype)[..., None]


def _open(source: str | os.PathLike | bytes, channels: int | None) -> RawImage:
    if isinstance(source, bytes):
        data = source
    elif os.fspath(source).endswith('.npy'):
        return open_npy(os.fspath(source), channels)
    else:
        with open(source, 'rb', buffering=0) as file:
            data = file.read()
    if data.startswith(b'\xff\xd8\xff'):
        return open_jpeg(data)
    if data.startswith(b'\x89PNG\r\n\x1a\n'):
        return open_png(data)
    if data.startswith(_TIFF_MAGIC):
        return open_tiff(data)
    if data.startswith(b'\x93NUMPY'):
        return open_npy(data, channels)
    if not data:
        raise BadImageError('empty file')
    return open_picture(data)
