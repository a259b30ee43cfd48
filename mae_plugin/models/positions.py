"""Where a patch stands: tables that are added to the tokens, or rotations of queries and keys."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid, resize_pos_embed, sincos_pos_embed
from mae_plugin.registry import MODELS

AttentionInputs = dict[str, Any]


@MODELS.register_module()
class SinCosPositions(nn.Module):
    """A table (1, C + h·w, D) of fixed sine-cosine rows, zero for the C class tokens (MAE).

    The trunk keeps the table under its official name ``pos_embed``; this part knows what to do
    with it.

    Args:
        dims: Width D of the tokens.
        grid: Patch grid (h, w) of the table.
        num_cls_tokens: Rows before the grid.
        resize: How other grids get their rows, one of :data:`mae_plugin.geometry.RESIZES`.
    """

    is_learned = False

    def __init__(
        self, dims: int, grid: Grid, num_cls_tokens: int = 1, resize: str = 'bicubic'
    ) -> None:
        super().__init__()
        self.grid = grid
        self.num_cls_tokens = num_cls_tokens
        self.resize = resize
        self.dims = dims

    def new_table(self) -> Tensor:
        """The table as it starts."""
        return sincos_pos_embed(self.dims, self.grid, self.num_cls_tokens)

    def reset(self, table: Tensor) -> None:
        """Give the table its random start, if it has one."""

    def rows(self, table: Tensor, grid: Grid, ids: Tensor | None = None) -> Tensor:
        """Rows of a grid's patches: (1, L, D), or (B, K, D) at ``ids`` (B, K)."""
        rows = resize_pos_embed(table, self.grid, grid, self.num_cls_tokens, self.resize)
        rows = rows[:, self.num_cls_tokens :]
        return rows if ids is None else rows[0][ids]

    def add(self, x: Tensor, table: Tensor, grid: Grid, ids: Tensor | None) -> Tensor:
        """Add their rows to patches (B, K, D), at ``ids`` (B, K) or all of the grid."""
        return x + self.rows(table, grid, ids)

    def add_to_cls(self, cls_token: Tensor, table: Tensor) -> Tensor:
        """Add their rows to the class tokens (1, C, D)."""
        return cls_token + table[:, : self.num_cls_tokens]

    def for_attention(
        self, grid: Grid, ids: Tensor | None, num_prefix_tokens: int
    ) -> AttentionInputs:
        """What the blocks' attention must be told: nothing."""
        return {}


@MODELS.register_module()
class LearnedPositions(SinCosPositions):
    """A trained table, which starts as a truncated normal(0, .02): DINOv2, Pixio, SAM."""

    is_learned = True

    def new_table(self) -> Tensor:
        """The table before it is initialised."""
        return torch.zeros(1, self.num_cls_tokens + self.grid[0] * self.grid[1], self.dims)

    def reset(self, table: Tensor) -> None:
        """Draw the table."""
        nn.init.trunc_normal_(table, std=0.02)


@MODELS.register_module()
class RotaryPositions(nn.Module):
    """Axial rotary positions without a table, as DINOv3 has them (arXiv 2508.10104).

    A patch's centre has coordinates in [-1, 1] in an image of any size. Half the channel pairs of
    each head turn with the row and half with the column, by angles of 2π · coordinate / period.
    Prefix tokens do not turn.

    Args:
        dims: Width D of the tokens.
        num_heads: Attention heads.
        base: The periods are ``base ** (i / n)`` for i in 0 ... n - 1, n a quarter of a head.

    Raises:
        UserError: If a head's width is no multiple of 4.
    """

    is_learned = False

    def __init__(self, dims: int, num_heads: int, base: float = 100.0) -> None:
        super().__init__()
        head_dims = dims // num_heads
        if head_dims % 4:
            raise UserError(
                f'rotary positions need heads whose width is a multiple of 4, not {head_dims} '
                f'(embed_dims={dims}, num_heads={num_heads})'
            )
        # Kept in checkpoints: DINOv3's own files have them rounded to bfloat16.
        exponents = torch.arange(head_dims // 4) / (head_dims // 4)
        self.register_buffer('periods', base**exponents)

    def new_table(self) -> None:
        """There is none."""

    def reset(self, table: None) -> None:
        """Nothing is drawn."""

    def add(self, x: Tensor, table: None, grid: Grid, ids: Tensor | None) -> Tensor:
        """Patches as they are."""
        return x

    def add_to_cls(self, cls_token: Tensor, table: None) -> Tensor:
        """Class tokens as they are."""
        return cls_token

    def for_attention(
        self, grid: Grid, ids: Tensor | None, num_prefix_tokens: int
    ) -> AttentionInputs:
        """Cosines and sines of all tokens' angles.

        Args:
            grid: (h, w).
            ids: (B, K) raster indices of the patches; all in raster order when None.
            num_prefix_tokens: P tokens before the patches.

        Returns:
            ``rotations``: (2, B or 1, 1, P + K, d), d the width of a head.
        """
        periods = self.periods.float()
        rows, columns = (
            (torch.arange(n, device=periods.device) + 0.5) * (2 / n) - 1 for n in grid
        )
        centres = torch.stack(
            [rows[:, None].expand(grid), columns[None, :].expand(grid)], dim=-1
        ).flatten(0, 1)
        angles = (2 * math.pi * centres[:, :, None] / periods).flatten(1)
        angles = angles[None] if ids is None else angles[ids]
        # An angle of zero turns nothing.
        angles = nn.functional.pad(angles, (0, 0, num_prefix_tokens, 0)).repeat(1, 1, 2)
        return dict(rotations=torch.stack([angles.cos(), angles.sin()])[:, :, None])


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Turn channel pairs (i, i + d/2) of (B, heads, N, d) by rotations (2, B or 1, 1, N, d)."""
    first, second = x.chunk(2, dim=-1)
    turned = x * rotations[0] + torch.cat([-second, first], dim=-1) * rotations[1]
    return turned.to(x.dtype)
