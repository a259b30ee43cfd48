"""Cutting grids of tokens into windows and putting them together again."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.compat import is_exporting
from mae_plugin.geometry import Grid, ceil_div


def window_partition(x: Tensor, size: int, grid: Grid) -> Tensor:
    """Cut grids into windows that do not overlap, zero-padding at the bottom and the right.

    Args:
        x: (B, h·w, D), the cells in raster order.
        size: Side S of a window.
        grid: (h, w).

    Returns:
        (B·n, S·S, D), the n windows of each grid, and the cells of each window, in raster order.
    """
    (h, w), dims = grid, x.shape[2]
    if is_exporting():
        cells = cells_of_windows(size, grid, x.device)
        return F.pad(x, (0, 0, 0, 1)).index_select(1, cells).reshape(-1, size * size, dims)
    rows, columns = ceil_div(h, size), ceil_div(w, size)
    x = F.pad(x.unflatten(1, grid), (0, 0, 0, columns * size - w, 0, rows * size - h))
    x = x.reshape(-1, rows, size, columns, size, dims).transpose(2, 3)
    return x.reshape(-1, size * size, dims)


def window_unpartition(windows: Tensor, size: int, grid: Grid) -> Tensor:
    """Inverse of :func:`window_partition`, dropping the padding.

    Args:
        windows: (B·n, S·S, D).
        size: Side S of a window.
        grid: (h, w).

    Returns:
        (B, h·w, D).
    """
    (h, w), dims = grid, windows.shape[2]
    rows, columns = ceil_div(h, size), ceil_div(w, size)
    if is_exporting():
        places = places_in_windows(size, grid, windows.device)
        x = windows.reshape(-1, rows * columns * size * size, dims)
        return x.index_select(1, places)
    x = windows.reshape(-1, rows, columns, size, size, dims).transpose(2, 3)
    x = x.reshape(-1, rows * size, columns * size, dims)
    return x[:, :h, :w].flatten(1, 2)


def cells_of_windows(size: int, grid: Grid, device: torch.device | None = None) -> Tensor:
    """Raster index of each cell of each window, (n·S·S,); h·w where it is padding.

    An exported program takes its windows by index: whether padding and transposing copy depends
    on sizes that it does not know.
    """
    h, w = grid
    rows, columns = ceil_div(h, size), ceil_div(w, size)
    window, cell = _divmod(torch.arange(rows * columns * size * size, device=device), size * size)
    (row, column), (y, x) = _divmod(window, columns), _divmod(cell, size)
    y, x = row * size + y, column * size + x
    return torch.where((y < h) & (x < w), y * w + x, h * w)


def places_in_windows(size: int, grid: Grid, device: torch.device | None = None) -> Tensor:
    """For each cell in raster order its place among all windows' cells, (h·w,)."""
    h, w = grid
    y, x = _divmod(torch.arange(h * w, device=device), w)
    (row, y), (column, x) = _divmod(y, size), _divmod(x, size)
    return (row * ceil_div(w, size) + column) * size * size + y * size + x


def _divmod(x: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    quotient = x.div(divisor, rounding_mode='floor')
    return quotient, x - quotient * divisor
