"""An image whose header was read and whose pixels were not yet: what every decoder gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mae_plugin.errors import UserError

_BYTE_ORDERS: dict[bytes, Literal['little', 'big']] = {b'II': 'little', b'MM': 'big'}


class BadImageError(UserError):
    """An image that cannot be used: damaged, truncated, empty, too large or of other channels."""


class MissingDataError(BadImageError):
    """Pixels of which too much is missing or no number; other parts may be better."""


@dataclass
class EncodedImage:
    """Header and reader of one image.

    Attributes:
        height, width (int): Size as stored, before EXIF orientation.
        channels (int): Channels that will be decoded, alpha included.
        read (Callable): ``read(scale, grey)`` gives (h, w, C). Only decoders that set
            ``can_scale`` honour the arguments.
        itemsize (int): Bytes per value; 0 for a mapped file, which is not decoded.
        orientation (int): EXIF orientation still to be applied, 1 to 8.
        can_scale (bool): Whether ``read`` can decode at 1/2, 1/4 and 1/8.
        progressive (bool): Whether the decoder holds the whole image at any scale.
        picture (bool): Whether 16 bits mean brightness and become 8 unless the config says no.
        white (int): The brightest value of 16 bits: 4095 where the header says 12 bits.
        alpha (bool): Whether the last of two or four channels is alpha.
        nodata (float, optional): The value that stands where nothing was measured.
        window (Callable, optional): ``window(top, left, height, width)`` gives (height, width, C)
            as stored, and reads no more of the file than it must.
    """

    height: int
    width: int
    channels: int
    read: Callable[[int, bool], np.ndarray]
    itemsize: int = 1
    orientation: int = 1
    can_scale: bool = False
    progressive: bool = False
    picture: bool = True
    white: int = 65535
    alpha: bool = True
    nodata: float | None = None
    window: Callable[[int, int, int, int], np.ndarray] | None = None

    def nbytes(self, scale: int = 1) -> int:
        """Size of the pixels decoded at ``1 / scale``."""
        scale = 1 if self.progressive else scale
        return -(-self.height // scale) * -(-self.width // scale) * self.channels * self.itemsize


def tiff_orientation(exif: bytes) -> int:
    """Orientation (tag 274) in the first directory of an EXIF block; 1 where there is none."""
    order = _BYTE_ORDERS.get(exif[:2])
    if order is None:
        return 1
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(exif)), 12):
        if int.from_bytes(exif[entry : entry + 2], order) == 274:
            value = int.from_bytes(exif[entry + 8 : entry + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1
