"""Pictures of more than 8 bits as pictures of 8."""

from collections.abc import Sequence

import numpy as np

from mae_plugin.errors import UserError


def to_eight_bits(pixels: np.ndarray, white: int) -> np.ndarray:
    """Scale uint16 from 0 to ``white`` to uint8, rounded to the nearest."""
    scaled = (pixels.astype(np.uint32) * 255 + white // 2) // white
    return np.minimum(scaled, 255).astype(np.uint8)


def range_to_eight_bits(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale values of any type from ``low`` .. ``high`` to uint8, rounded; the rest is cut off."""
    scaled = (pixels.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def check_value_range(value_range: Sequence[float] | None, keep_depth: bool | None) -> None:
    """Refuse a range that is none.

    Raises:
        UserError: If it is not two rising numbers, or 16 bits are to be kept too.
    """
    if value_range is None:
        return
    if len(value_range) != 2 or not -np.inf < value_range[0] < value_range[1] < np.inf:
        raise UserError(f'value_range={value_range!r} must be two rising numbers')
    if keep_depth:
        raise UserError(
            f'value_range={tuple(value_range)} makes 8 bits, and keep_depth=True keeps 16: give '
            'one of them'
        )
