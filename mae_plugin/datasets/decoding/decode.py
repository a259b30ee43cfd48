"""Any image file to an array of a stated number of channels.

Rules, the same for every format:

* The picture is turned upright by its EXIF orientation.
* Palettes are looked up; CMYK, YCbCr, Lab and HSV become RGB.
* A file that has ``channels`` channels (alpha included) is taken as it is. Otherwise alpha, where
  the format says that it is, is composited onto ``background`` (white, what viewers show), and
  then grey becomes RGB by repetition, RGB becomes grey by the luma of ITU-R BT.601 (JPEG's own),
  and anything else is an error that names both numbers.
* ``keep_depth`` decides what becomes of 16 bits (unsigned): True keeps them as stored, whatever
  the container; False makes 8 bits of them, from black to the brightest value that the header
  allows (65,535, or 4,095 of 12 bits). Unset, pictures of up to four channels become 8 bits, and
  ``.npy`` arrays and files of more bands stay as they are. All other types are kept always.
* ``value_range`` makes 8 bits of all that has more: from the first of two values to the second;
  what lies outside is cut off. It is for data that uses a part of its range, whose percentiles
  ``tools/inspect_data.py --percentiles`` fits.
* Pixels without data, as GDAL's tag of a TIFF marks them, or ``nodata`` in files without it, get
  the mean that their band has over the rest of the image, before anything is resized. An image
  of which more than half is missing is unusable.
* Floats that are NaN, infinite or a fill value such as -3.4e38 without such a mark make the crop
  that holds them unusable: they would spoil the loss of a whole batch.
* ``bands`` takes some of a file's bands by number, from 0, in that order: of Sentinel-2's 12,
  ``[3, 2, 1]`` are red, green and blue. None of them is alpha then.
* Nothing is decoded to more than ``max_bytes``, by its header. A JPEG counts at the scale at which
  it is decoded.
"""

import math
import os
from collections.abc import Sequence

import numpy as np

from mae_plugin.datasets.decoding.channels import match_channels
from mae_plugin.datasets.decoding.depth import (
    check_value_range,
    range_to_eight_bits,
    to_eight_bits,
)
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.decoding.nodata import MAX_SHARE, NoData, refuse_unusable
from mae_plugin.datasets.decoding.open_image import open_image
from mae_plugin.errors import UserError

MAX_BYTES = 1 << 28  # 89 megapixels of RGB, the limit at which Pillow warns


class ImageSource:
    """One image, header first.

    Args:
        source (str | Path | bytes): Path or contents of the file.
        channels (int, optional): Channels wanted; None takes what the file has.
        background (int): Grey value (0 to 255) that shows through transparent pixels.
        max_bytes (int): Images that decode to more are refused.
        keep_depth (bool, optional): Whether 16 bits stay; None decides by the rule above.
        nodata (float | str, optional): Value that means no data ('nan' too), in files that do not
            say so themselves.
        bands (Sequence[int], optional): Numbers of the bands to take, from 0; as many as
            ``channels``.
        value_range (Sequence[float], optional): The values that become 0 and 255.
        windows (bool): Read only the header now, and of TIFF, ``.npy`` and Zarr only the parts
            that :meth:`read_window` is asked for. ``max_bytes`` then bounds the part.

    Attributes:
        height, width (int): Size as displayed, that is after EXIF orientation.
        max_scale (int): The largest ``scale`` that :meth:`read` takes: 1 if it is not a JPEG.
        name (str): Of the file, for messages.
        white (int): The brightest value that 16 bits have.
        mark (float, optional): The value that means no data.

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
        keep_depth: bool | None = None,
        nodata: float | str | None = None,
        bands: Sequence[int] | None = None,
        windows: bool = False,
        value_range: Sequence[float] | None = None,
    ) -> None:
        check_bands(bands, channels)
        check_value_range(value_range, keep_depth)
        self.bands = None if bands is None else list(bands)
        self.channels = channels
        self.background = background
        self.max_bytes = max_bytes
        self.keep_depth = keep_depth
        self.value_range = value_range
        self.name = 'an image' if isinstance(source, bytes) else os.fspath(source)
        wanted = channels if bands is None else None
        as_measured = keep_depth if value_range is None else True
        self._raw = raw = open_image(source, wanted, as_measured, windows)
        self._alpha = raw.alpha and bands is None
        self._windows = windows and raw.window is not None
        self.white = raw.white
        self.mark = raw.nodata if raw.nodata is not None or nodata is None else float(nodata)
        self._keeps_depth = not raw.picture if keep_depth is None else keep_depth
        self._nodata: NoData | None = None
        if raw.height < 1 or raw.width < 1:
            raise BadImageError(f'{raw.width}x{raw.height} is empty')
        turned = raw.orientation >= 5
        self.height, self.width = (raw.width, raw.height) if turned else (raw.height, raw.width)
        self.max_scale = 1
        if raw.can_scale:  # a turned image must hold whole pixels of the smaller one
            self.max_scale = 8 if raw.orientation == 1 else math.gcd(raw.height, raw.width, 8)
        if not self._windows:
            self._refuse_size(self.max_scale)

    @property
    def in_parts(self) -> bool:
        """Whether :meth:`read_window` reads no more than it is asked for."""
        return self._windows

    def fits(self, scale: int) -> bool:
        """Whether the image decoded at ``1 / scale`` takes no more than ``max_bytes``."""
        return self._raw.nbytes(scale) <= self.max_bytes

    def read(self, scale: int = 1) -> np.ndarray:
        """Decode, upright but with the file's own channels.

        Args:
            scale (int): Decode at ``1 / scale`` (1, 2, 4, 8), at most :attr:`max_scale`.

        Returns:
            np.ndarray: (ceil(height / scale), ceil(width / scale), C of the file), maybe a view.

        Raises:
            BadImageError: If the file is truncated or damaged, or mostly without data.
        """
        self._refuse_size(scale)
        pixels = self._raw.read(scale, self.channels == 1 and self.bands is None)
        return orient(self._take(pixels, MAX_SHARE), self._raw.orientation)

    def read_window(
        self, top: int, left: int, height: int, width: int, max_nodata: float = MAX_SHARE
    ) -> np.ndarray:
        """Decode one part, upright but with the file's own channels.

        Where parts cannot be read alone (JPEG, PNG and the like) the whole is decoded.

        Args:
            top (int): First row of the part, in the upright image.
            left (int): First column.
            height (int): Rows.
            width (int): Columns.
            max_nodata (float): Largest share of values without data in it.

        Returns:
            np.ndarray: (height, width, C of the file), maybe a view.

        Raises:
            BadImageError: If the file is truncated or damaged, or more of the part is missing.
        """
        raw = self._raw
        if not self._windows or raw.window is None:
            self._refuse_size(1)
            whole = orient(raw.read(1, False), raw.orientation)
            return self._take(whole[top : top + height, left : left + width], max_nodata)
        size = height * width * raw.channels * raw.itemsize
        if size > self.max_bytes:
            raise BadImageError(
                f'a window of {height}x{width} needs {size} bytes, more than '
                f'max_bytes={self.max_bytes}; draw smaller ones or raise the limit'
            )
        if raw.orientation in (3, 4, 7, 8):
            top = self.height - top - height
        if raw.orientation in (2, 3, 6, 7):
            left = self.width - left - width
        box = top, left, height, width
        if raw.orientation >= 5:
            box = left, top, width, height
        return orient(self._take(raw.window(*box), max_nodata), raw.orientation)

    def missing(self, pixels: np.ndarray, mark: float) -> np.ndarray:
        """Where (a part of) what :meth:`read` gave is ``mark``: bool, (h, w, C) or (h, w, 1)."""
        return NoData(pixels, mark, self._alpha, max_share=1.0).missing(pixels)

    def _take(self, pixels: np.ndarray, max_nodata: float) -> np.ndarray:
        """The bands asked for; notes where there is no data among them."""
        if self.bands is not None:
            if not all(0 <= band < pixels.shape[2] for band in self.bands):
                raise BadImageError(
                    f'bands={self.bands} are asked for, but the image has {pixels.shape[2]} '
                    f'bands, numbered 0 to {pixels.shape[2] - 1}'
                )
            pixels = pixels[..., self.bands]
        if self.mark is not None:
            self._nodata = NoData(pixels, self.mark, self._alpha, max_nodata)
        return pixels

    def becomes_eight_bits(self, pixels: np.ndarray) -> bool:
        """Whether :meth:`convert` rounds what :meth:`read` gave, by the header's range."""
        return pixels.dtype == np.uint16 and not self._keeps_depth and self.value_range is None

    def convert(self, pixels: np.ndarray) -> np.ndarray:
        """Bring (a crop of) what :meth:`read` gave to the channels asked for.

        Args:
            pixels (np.ndarray): (h, w, C of the file).

        Returns:
            np.ndarray: (h, w, channels), contiguous; uint8, or the file's dtype.

        Raises:
            BadImageError: If there is no rule from the file's channels to those asked for, or
                float pixels hold values that are not finite.
        """
        if self._nodata is not None:
            pixels = self._nodata.replace(pixels)
        if pixels.dtype.kind == 'f':
            refuse_unusable(pixels)
        if self.value_range is not None and pixels.dtype != np.uint8:
            pixels = self._cut_range(pixels, *self.value_range)
        if self.becomes_eight_bits(pixels):
            pixels = to_eight_bits(pixels, self.white)
        background = self.background if self._alpha else None
        size = self.height, self.width
        return np.ascontiguousarray(
            match_channels(pixels, self.channels, background, size, self.white)
        )

    def _cut_range(self, pixels: np.ndarray, low: float, high: float) -> np.ndarray:
        """``value_range`` to 0 .. 255; alpha has its own."""
        if not (self._alpha and pixels.shape[2] in (2, 4) and pixels.dtype == np.uint16):
            return range_to_eight_bits(pixels, low, high)
        colours = range_to_eight_bits(pixels[..., :-1], low, high)
        return np.concatenate([colours, to_eight_bits(pixels[..., -1:], self.white)], axis=2)

    def _refuse_size(self, scale: int) -> None:
        if self.fits(scale):
            return
        at = f' even at 1/{scale}' if scale > 1 else ''
        raise BadImageError(
            f'{self._raw.width}x{self._raw.height} needs {self._raw.nbytes(scale)} bytes{at}, '
            f'more than max_bytes={self.max_bytes}; shrink it or raise the limit'
        )


def decode(source: str | os.PathLike | bytes, channels: int | None = 3, **options) -> np.ndarray:
    """Decode a whole image by the rules above: (H, W, channels).

    Args:
        source (str | Path | bytes): Path or contents of the file.
        channels (int, optional): Channels wanted.
        options: The rest of :class:`ImageSource`.
    """
    image = ImageSource(source, channels, **options)
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


def check_bands(bands: Sequence[int] | None, channels: int | None) -> None:
    """Refuse band numbers that cannot be.

    Raises:
        UserError: If they are not whole numbers from 0, or not as many as ``channels``.
    """
    if bands is None:
        return
    if not bands or not all(isinstance(band, int) and band >= 0 for band in bands):
        raise UserError(f'bands={bands!r} must be numbers of bands, counted from 0: [3, 2, 1]')
    if channels is not None and len(bands) != channels:
        raise UserError(
            f'bands={list(bands)} are {len(bands)}, but channels={channels}: set '
            f'channels={len(bands)} (and in_channels, mean and std)'
        )
