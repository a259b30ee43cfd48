"""Pictures of 16 bits as pictures of 8."""

import numpy as np


def to_eight_bits(pixels: np.ndarray, white: int) -> np.ndarray:
    """Scale uint16 from 0 to ``white`` to uint8, rounded to the nearest."""
    scaled = (pixels.astype(np.uint32) * 255 + white // 2) // white
    return np.minimum(scaled, 255).astype(np.uint8)
