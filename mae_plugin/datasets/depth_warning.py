"""What rounding to 8 bits costs files of 16 that use few of them."""

import logging

import numpy as np
import torch
from torch.utils.data import get_worker_info

from mae_plugin.datasets.decoding.decode import ImageSource
from mae_plugin.logs import log

_FEW_LEVELS = 65  # of 256: what is left of 14 of 16 bits
_SAMPLE = 8192


class DepthWarning:
    """Warns once that 8 bits leave little of a file's range.

    The first worker does it, and what it told is kept in memory that its successors share: a
    loader may start its workers anew for every epoch.
    """

    def __init__(self) -> None:
        self._told = torch.zeros(1, dtype=torch.uint8, device='cpu').share_memory_()

    def check(self, image: ImageSource, pixels: np.ndarray) -> None:
        """Look at one image.

        Args:
            image (ImageSource): The image.
            pixels (np.ndarray): What its ``read`` gave.
        """
        worker = get_worker_info()
        unasked = image.keep_depth is None and image.becomes_eight_bits(pixels)
        if not unasked or self._told.item() or (worker is not None and worker.id > 0):
            return
        peak, levels = levels_left(pixels, image.white, image.mark)
        if levels > _FEW_LEVELS:
            return
        self._told.fill_(1)
        log(
            f'{image.name} holds values up to about {peak} of {image.white}: as 8 bits, {levels} '
            'levels are left of them. keep_depth=True in the loading transforms keeps all, with '
            'mean and std of your data in the preprocessor; keep_depth=False says that 8 bits are '
            'meant. Further files are not named',
            level=logging.WARNING,
        )


def levels_left(pixels: np.ndarray, white: int, mark: float | None = None) -> tuple[int, int]:
    """How bright 16 bits get, and how many levels of 256 are left of that as 8 bits.

    Estimated from some thousand pixels, without the brightest thousandth: a hot pixel is no range.

    Args:
        pixels (np.ndarray): (H, W, C) uint16.
        white (int): The brightest value possible.
        mark (float, optional): The value that means no data.
    """
    step = max(1, int((pixels.size / _SAMPLE) ** 0.5))
    sample = pixels[::step, ::step].ravel()
    if mark is not None:
        sample = sample[sample != mark]
    peak = int(np.quantile(sample, 0.999, method='nearest')) if sample.size else white
    return peak, min(255, round(peak * 255 / white)) + 1
