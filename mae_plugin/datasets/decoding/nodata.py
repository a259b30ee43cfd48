"""Values that are none: what files mark as missing is replaced, other fill values are refused."""

import numpy as np

from mae_plugin.datasets.decoding.encoded_image import MissingDataError

MAX_SHARE = 0.5  # of values without data
MAX_VALUE = 1e18  # the square of it, which the loss takes, is still a float32


class NoData:
    """Finds the pixels of one image that hold no data, and what to put in their place.

    In floats and signed numbers each value by itself may be missing. In unsigned ones, whose mark
    is mostly 0 or 255 and as well a colour, a pixel is missing where all its bands hold the mark.

    Args:
        pixels (np.ndarray): The whole image, or a window of a large one, (H, W, C).
        mark (float): The value that means no data; NaN too.
        alpha (bool): Whether the last of two or four channels is alpha, which is no band.
        max_share (float): Of values that are missing; half of them by default.

    Raises:
        MissingDataError: If more are missing.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        mark: float,
        alpha: bool = False,
        max_share: float = MAX_SHARE,
    ) -> None:
        self.mark = float(mark)
        self.bands = pixels.shape[2] - (alpha and pixels.shape[2] in (2, 4))
        missing = self.missing(pixels)
        self.fill = None
        if not missing.any():
            return
        share = float(missing.mean())
        if share > max_share:
            raise MissingDataError(
                f'{share:.0%} of its values are nodata ({mark:g}); more than {max_share:.0%} is '
                'not used'
            )
        values = pixels[..., : self.bands]
        valid = np.broadcast_to(~missing, values.shape)
        if values.dtype.kind == 'f':
            valid = valid & is_usable(values)
        counts = np.maximum(valid.sum((0, 1)), 1)
        sums = values.sum((0, 1), dtype=np.float64, where=valid)
        mean = sums / counts
        self.fill = (np.rint(mean) if pixels.dtype.kind in 'iu' else mean).astype(pixels.dtype)

    def missing(self, pixels: np.ndarray) -> np.ndarray:
        """Which values are missing: bool, (H, W, C) or (H, W, 1)."""
        values = pixels[..., : self.bands]
        if values.dtype.kind == 'f':
            if np.isnan(self.mark):
                return np.isnan(values)
            with np.errstate(over='ignore'):
                return values == values.dtype.type(self.mark)
        limits = None if values.dtype.kind == 'b' else np.iinfo(values.dtype)
        if not (limits and self.mark.is_integer() and limits.min <= self.mark <= limits.max):
            return np.zeros((1, 1, 1), bool)
        found = values == values.dtype.type(self.mark)
        return found.all(-1, keepdims=True) if values.dtype.kind == 'u' else found

    def replace(self, pixels: np.ndarray) -> np.ndarray:
        """Put each band's mean over the image where it is missing in (a crop of) the image."""
        if self.fill is None:
            return pixels
        filled = np.array(pixels)
        bands = filled[..., : self.bands]
        np.copyto(bands, self.fill, where=self.missing(bands))
        return filled


def refuse_unusable(pixels: np.ndarray) -> None:
    """Refuse float pixels with values that no loss can be computed from.

    Raises:
        MissingDataError: If any is NaN, infinite or beyond :data:`MAX_VALUE`; it says how many.
    """
    usable = is_usable(pixels)
    if not usable.all():
        count = usable.size - np.count_nonzero(usable)
        raise MissingDataError(
            f'{count} of the {usable.size} values cut from it are NaN, infinite or beyond '
            f'{MAX_VALUE:.0e} (a fill value): name it with nodata=... in the loading transform, '
            f"or fill them in the file, for example with the band's mean"
        )


def is_usable(pixels: np.ndarray) -> np.ndarray:
    """Which floats are neither NaN, infinite nor beyond :data:`MAX_VALUE`: bool, as ``pixels``."""
    return np.abs(pixels) <= min(MAX_VALUE, float(np.finfo(pixels.dtype).max))
