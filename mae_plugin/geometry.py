"""Position embeddings: the fixed 2-D sin-cos table of MAE, and its resizing to another grid."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int]


def patch_grid(size: Sequence[int], patch_size: int) -> Grid:
    """Patch grid (h, w) of an image of ``size`` (H, W).

    Raises:
        ValueError: If the image is smaller than a patch, or not divisible by it.
    """
    height, width = size
    if height < patch_size or width < patch_size:
        raise ValueError(
            f'image of {height}x{width} is smaller than one patch of {patch_size}x{patch_size}: '
            'use larger images (the `size` of the transform) or a smaller `patch_size`'
        )
    if height % patch_size or width % patch_size:
        near = tuple(max(1, round(side / patch_size)) * patch_size for side in (height, width))
        raise ValueError(
            f'image of {height}x{width} is not divisible by patch_size={patch_size}: '
            f"set the transform's `size` to {near} (H, W) or change `patch_size`"
        )
    return height // patch_size, width // patch_size


def sincos_pos_embed(dims: int, grid: Grid, num_prefix_tokens: int = 0) -> Tensor:
    """Fixed 2-D sine-cosine position embedding (MAE appendix A.1; official code's layout).

    The first half of the channels encodes the column and the second half the row: the official
    table is built that way, and checkpoints depend on it.

    Args:
        dims: Width D of the tokens, a multiple of 4.
        grid: Patch grid (h, w).
        num_prefix_tokens: Zero rows put before the grid, 1 for the class token.

    Returns:
        float32 tensor (1, num_prefix_tokens + h·w, D), patches in raster order.

    Raises:
        ValueError: If ``dims`` is no multiple of 4.
    """
    if dims % 4:
        raise ValueError(f'sin-cos positions need a width that is a multiple of 4, got {dims}')
    # float64 as in the official code: float32 arithmetic differs in the last bits.
    omega = 10000.0 ** (-torch.arange(dims // 4, dtype=torch.float64) / (dims / 4))

    def encode(length: int) -> Tensor:
        angles = torch.arange(length, dtype=torch.float64)[:, None] * omega
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    h, w = grid
    columns = encode(w)[None, :, :].expand(h, -1, -1)
    rows = encode(h)[:, None, :].expand(-1, w, -1)
    table = torch.cat([columns, rows], dim=2).reshape(h * w, dims).float()
    return torch.cat([torch.zeros(num_prefix_tokens, dims), table])[None]


def resize_pos_embed(
    pos_embed: Tensor, source: Grid, target: Grid, num_prefix_tokens: int = 1
) -> Tensor:
    """Resize position embeddings bicubically, leaving the prefix tokens' rows as they are.

    Args:
        pos_embed: (1, num_prefix_tokens + h·w, D) on the ``source`` grid.
        source: Grid (h, w) of ``pos_embed``.
        target: Grid (h, w) wanted.
        num_prefix_tokens: Rows before the grid.

    Returns:
        Tensor (1, num_prefix_tokens + h'·w', D); ``pos_embed`` itself if the grids are equal.

    Raises:
        ValueError: If the number of rows does not fit ``source``.
    """
    if pos_embed.shape[1] != num_prefix_tokens + source[0] * source[1]:
        raise ValueError(
            f'pos_embed has {pos_embed.shape[1]} rows, but {num_prefix_tokens} prefix tokens and '
            f'a grid of {source[0]}x{source[1]} make {num_prefix_tokens + source[0] * source[1]}'
        )
    if tuple(source) == tuple(target):
        return pos_embed
    prefix, table = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    table = table.reshape(1, *source, -1).permute(0, 3, 1, 2).float()
    table = F.interpolate(table, size=target, mode='bicubic', align_corners=False)
    table = table.permute(0, 2, 3, 1).flatten(1, 2).to(pos_embed.dtype)
    return torch.cat([prefix, table], dim=1)
