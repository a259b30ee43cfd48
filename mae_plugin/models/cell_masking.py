"""Masks of aligned cells: what is removed or kept is a square of patches, not one patch.

Paper: Pixio, "In Pursuit of Pixel Supervision for Visual Pre-training" (Yang et al., CVPR 2026),
https://arxiv.org/abs/2512.15715.
"""

import torch
from torch import Tensor

from mae_plugin.geometry import Grid, ceil_div, whole_number
from mae_plugin.registry import MODELS

from .masking import Masking


@MODELS.register_module()
class CellMasking(Masking):
    """Uniform random sampling of cells of g x g patches, aligned to the grid's top left corner.

    The number of patches kept is that of every masking, ``int(L · (1 - mask_ratio))``, so that
    the images of a batch have equally many. Where whole cells do not add up to it, one cell is
    kept in part, by a random choice of its patches. On a grid that is no multiple of g, cells at
    the right and the bottom border are cut, and count as one cell each. With the published 16x16
    grid, cells of 4x4 and 75% neither happens: 4 of 16 cells are kept, whole.

    Args:
        mask_ratio: Share of patches removed, in [0, 1).
        cell_size: g, side of a cell in patches (Pixio: 4). 1 is random masking; a cell of the
            whole grid too.

    Raises:
        UserError: If ``cell_size`` is no whole number above 0.
    """

    # L numbers for the cells (as many as there are come first), L for the order of patches
    # within a cell, and the last L for the order of the masked ones.
    noise_per_patch = 3

    def __init__(self, mask_ratio: float = 0.75, cell_size: int = 4) -> None:
        super().__init__(mask_ratio)
        self.cell_size = whole_number('cell_size', cell_size)

    def extra_repr(self) -> str:
        """Show the cells too when the model is printed."""
        return f'{super().extra_repr()}, cell_size={self.cell_size}'

    def score(self, noise: Tensor, grid: Grid) -> Tensor:
        """Place of each patch when cells come in random order, and patches too in each cell."""
        h, w = grid
        length = h * w
        rows, columns = (
            torch.arange(side, device=noise.device) // self.cell_size for side in grid
        )
        across = ceil_div(w, self.cell_size)
        cell_of_patch = (rows[:, None] * across + columns).flatten()
        num_cells = ceil_div(h, self.cell_size) * across
        cells, patches = _ranks(noise[:, :num_cells]), _ranks(noise[:, length : 2 * length])
        return cells[:, cell_of_patch] * length + patches


def _ranks(noise: Tensor) -> Tensor:
    """Place of each number (B, N) in its row's rising order."""
    return noise.argsort(dim=1, stable=True).argsort(dim=1)
