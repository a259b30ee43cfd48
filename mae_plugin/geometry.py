"""Image sizes, patch grids, and the position embeddings that belong to a grid."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.compat import is_exporting
from mae_plugin.errors import UserError

Grid = tuple[int, int]
# How families resize their tables: MAE and most others; DINOv2 with registers, and timm; DINOv2,
# which interpolates for a grid that is 0.1 longer, and samples that at the wanted one's places.
OFFSET = 0.1
RESIZES = ('bicubic', 'bicubic-antialias', 'bicubic-offset')


def whole_number(name: str, value: Any) -> int:
    """``value`` as a positive integer; ``name`` is what messages call it.

    Raises:
        UserError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise UserError(f'{name}={value!r}: give a whole number, 1 or more')
    return int(value)


def image_size(size: int | Sequence[int], name: str = 'img_size') -> Grid:
    """Height and width of ``size``, which is the side of a square, ``(side,)`` or (H, W).

    Args:
        size: In pixels.
        name: What messages call it.

    Raises:
        UserError: If it is none of these, or not of whole numbers.
    """
    if isinstance(size, Sequence) and not isinstance(size, str):
        sides = tuple(size)
    else:
        sides = (size,)
    if len(sides) not in (1, 2):
        raise UserError(f'{name}={size!r}: give one side, or (height, width)')
    return whole_number(name, sides[0]), whole_number(name, sides[-1])


def ceil_div(length: int, divisor: int) -> int:
    """``length / divisor``, rounded up.

    Not ``-(-length // divisor)``: negative numbers are too much for the symbolic sizes of
    ``torch.compile`` and of exports.
    """
    return (length + divisor - 1) // divisor


def is_same_size(source: Sequence[int], target: Sequence[int]) -> bool:
    """Whether a table made for ``source`` may be used for ``target`` as it is.

    An exported program is for all sizes, so it always resizes: at the same size that changes
    nothing.
    """
    return not is_exporting() and tuple(source) == tuple(target)


def patch_grid(size: Sequence[int], patch_size: int) -> Grid:
    """Patch grid (h, w) of an image of ``size`` (H, W).

    Raises:
        UserError: If the image is smaller than a patch, or not divisible by it.
    """
    height, width = size
    if height < patch_size or width < patch_size:
        raise UserError(
            f'image of {height}x{width} is smaller than one patch of {patch_size}x{patch_size}: '
            'use larger images (the `size` of the transform) or a smaller `patch_size`'
        )
    if height % patch_size or width % patch_size:
        near = tuple(max(1, round(side / patch_size)) * patch_size for side in (height, width))
        raise UserError(
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
        UserError: If ``dims`` is no multiple of 4.
    """
    if dims % 4:
        raise UserError(f'sin-cos positions need a width that is a multiple of 4, got {dims}')
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
    pos_embed: Tensor,
    source: Grid,
    target: Grid,
    num_prefix_tokens: int = 1,
    how: str = 'bicubic',
) -> Tensor:
    """Resize position embeddings bicubically, leaving the prefix tokens' rows as they are.

    Args:
        pos_embed: (1, num_prefix_tokens + h·w, D) on the ``source`` grid.
        source: Grid (h, w) of ``pos_embed``.
        target: Grid (h, w) wanted.
        num_prefix_tokens: Rows before the grid.
        how: One of :data:`RESIZES`.

    Returns:
        Tensor (1, num_prefix_tokens + h'·w', D); ``pos_embed`` itself if the grids are equal.

    Raises:
        UserError: If the number of rows does not fit ``source``, or ``how`` is unknown.
    """
    if how not in RESIZES:
        raise UserError(f'resize={how!r}: choose one of {", ".join(RESIZES)}')
    if pos_embed.shape[1] != num_prefix_tokens + source[0] * source[1]:
        raise UserError(
            f'pos_embed has {pos_embed.shape[1]} rows, but {num_prefix_tokens} prefix tokens and '
            f'a grid of {source[0]}x{source[1]} make {num_prefix_tokens + source[0] * source[1]}'
        )
    if is_same_size(source, target):
        return pos_embed
    prefix, table = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    table = table.reshape(1, *source, -1).permute(0, 3, 1, 2).float()
    table = _interpolate(table, target, how)
    table = table.permute(0, 2, 3, 1).flatten(1, 2).to(pos_embed.dtype)
    return torch.cat([prefix, table], dim=1)


def _interpolate(table: Tensor, target: Grid, how: str) -> Tensor:
    """(1, D, h, w) to (1, D, h', w')."""
    if how == 'bicubic':
        return F.interpolate(table, size=target, mode='bicubic', align_corners=False)
    smooth = how == 'bicubic-antialias'
    if is_exporting():
        # Exported programs have neither antialiasing nor a scale that depends on their sizes.
        sides = [torch.ones(side).sum() for side in target]
        is_other = (sides[0] != table.shape[2]) | (sides[1] != table.shape[3])
        offset = is_other * (0.0 if smooth else OFFSET)
        rows, columns = (
            bicubic_weights(old, new, offset, smooth).to(table)
            for old, new in zip(table.shape[2:], target)
        )
        return F.linear(F.linear(table, columns).transpose(2, 3), rows).transpose(2, 3)
    if smooth:
        return F.interpolate(table, size=target, mode='bicubic', antialias=True)
    scales = [(new + OFFSET) / old for new, old in zip(target, table.shape[2:])]
    return F.interpolate(table, scale_factor=scales, mode='bicubic', align_corners=False)


def bicubic_weights(
    source: int, target: int, offset: float | Tensor = 0.0, smooth: bool = False
) -> Tensor:
    """What each of ``target`` points takes of each of ``source`` points, as ``F.interpolate``.

    Args:
        source: Points along one axis.
        target: Points wanted.
        offset: The scale is that for ``target + offset`` points.
        smooth: Antialiasing: a kernel as wide as a wanted point, normalised at the borders. Else
            points beyond a border are the last before it.

    Returns:
        (target, source).
    """
    wanted, points = torch.arange(target), torch.arange(source)
    scale = source / (torch.ones(target).sum() + offset)
    places = (wanted + 0.5) * scale - 0.5
    if smooth:
        weights = _cubic((points - places[:, None]) / scale.clamp(min=1), -0.5)
        return weights / weights.sum(dim=1, keepdim=True)
    taps = places.floor()[:, None] + torch.arange(-1, 3)
    weights = _cubic(taps - places[:, None], -0.75)
    taken = taps.clamp(0, source - 1)[:, :, None] == points
    return (weights[:, :, None] * taken).sum(dim=1)


def _cubic(x: Tensor, a: float) -> Tensor:
    """Keys' cubic convolution kernel."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
