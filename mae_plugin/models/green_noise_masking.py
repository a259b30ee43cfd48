"""Masks from noise of one band of frequencies: clusters of patches, spread evenly.

Paper: ColorMAE, "Exploring Data-Independent Masking Strategies in Masked AutoEncoders" (Hinojosa
et al., ECCV 2024), https://arxiv.org/abs/2407.13036.
"""

import torch
from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid
from mae_plugin.registry import MODELS

from .masking import Masking
from .noise import unit_noise

BANDS = ('green', 'red', 'blue', 'purple')

# Whole numbers of this many bits, so that a blurred value needs 20 + 2 · 15 of the 53 bits that
# float64 has, and no sum ever rounds.
_NOISE_BITS = 20
_WEIGHT_BITS = 15


def blur_matrix(side: int, sigma: float, device: torch.device) -> Tensor:
    """Gaussian blur along a circle of 2 · side patches, of which the first ``side`` are wanted.

    Args:
        side: Patches along one side of the grid.
        sigma: Standard deviation, in patches.
        device: Where to compute.

    Returns:
        float64 (side, 2 · side) of whole numbers; each row adds up to nearly 2^15.
    """
    places = torch.arange(2 * side, device=device, dtype=torch.float64)
    distance = (places - places[:side, None]).abs()
    distance = torch.minimum(distance, 2 * side - distance)
    weights = (-0.5 * (distance / sigma).square()).exp()
    return (weights / weights.sum(1, keepdim=True) * 2**_WEIGHT_BITS).round()


@MODELS.register_module()
class GreenNoiseMasking(Masking):
    """Keeps the patches where filtered noise is highest (ColorMAE, section 3).

    Red noise is white noise blurred by a wide Gaussian, blue noise is white noise less its blur
    by a narrow one, green noise is what lies between (narrow less wide), and purple noise is
    white noise without green. Which end of the values is kept makes no difference: the noise is
    as likely as its negative.

    The paper cuts windows out of large stored patterns. Here each sample's noise is drawn and
    filtered on the device, on a torus of twice the grid's height and width of which one quarter
    is used: the statistics are the same at borders and inside, and opposite borders are as
    unrelated as patches more than a grid apart. The arithmetic is exact, so that a key gives the
    same mask in any batch, on any device, and under autocast, which leaves float64 alone.

    Args:
        mask_ratio: Share of patches removed, in [0, 1).
        band: ``green``, ``red``, ``blue`` or ``purple``.
        sigmas: Standard deviations of the narrow and the wide Gaussian, in patches. The defaults
            are ours.

    Raises:
        UserError: If ``band`` is another, or not 0 < narrow < wide.
    """

    # 4·L numbers for the torus, and the last L for the order of the masked ones.
    noise_per_patch = 5

    def __init__(
        self,
        mask_ratio: float = 0.75,
        band: str = 'green',
        sigmas: tuple[float, float] = (1.0, 2.0),
    ) -> None:
        super().__init__(mask_ratio)
        if band not in BANDS:
            raise UserError(f'band={band!r}: choose one of {", ".join(BANDS)}')
        if not 0 < sigmas[0] < sigmas[1]:
            raise UserError(f'sigmas={sigmas}: give the narrow Gaussian first, above 0')
        self.band = band
        self.sigmas = sigmas

    def extra_repr(self) -> str:
        """Show band and widths too when the model is printed."""
        return f'{super().extra_repr()}, band={self.band!r}, sigmas={self.sigmas}'

    def score(self, noise: Tensor, grid: Grid) -> Tensor:
        """The filtered noise's negative, float64 (B, L)."""
        h, w = grid
        torus = (unit_noise(noise)[:, : 4 * h * w] * 2**_NOISE_BITS).floor()
        torus = torus.unflatten(1, (2 * h, 2 * w))
        white = torus[:, :h, :w] * 4**_WEIGHT_BITS
        narrow, wide = (
            blur_matrix(h, sigma, noise.device) @ torus @ blur_matrix(w, sigma, noise.device).T
            for sigma in self.sigmas
        )
        filtered = dict(
            green=narrow - wide, red=wide, blue=white - narrow, purple=white - narrow + wide
        )
        return -filtered[self.band].flatten(1)
