"""Cutting feature maps into windows and putting them together again."""

import torch.nn.functional as F
from torch import Tensor

from mae_plugin.geometry import Grid


def window_partition(x: Tensor, size: int) -> Tensor:
    """Cut maps into windows that do not overlap, zero-padding them at the bottom and the right.

    Args:
        x: (B, h, w, D).
        size: Side S of a window.

    Returns:
        (B·n, S·S, D), the n windows of each map, and the cells of each window, in raster order.
    """
    b, h, w, dims = x.shape
    x = F.pad(x, (0, 0, 0, -w % size, 0, -h % size))
    rows, columns = x.shape[1] // size, x.shape[2] // size
    x = x.reshape(b, rows, size, columns, size, dims).transpose(2, 3)
    return x.reshape(b * rows * columns, size * size, dims)


def window_unpartition(windows: Tensor, size: int, grid: Grid) -> Tensor:
    """Inverse of :func:`window_partition`, dropping the padding.

    Args:
        windows: (B·n, S·S, D).
        size: Side S of a window.
        grid: (h, w) of the maps.

    Returns:
        (B, h, w, D).
    """
    h, w = grid
    rows, columns = -(-h // size), -(-w // size)
    x = windows.reshape(-1, rows, columns, size, size, windows.shape[2]).transpose(2, 3)
    x = x.reshape(-1, rows * size, columns * size, windows.shape[2])
    return x[:, :h, :w]
