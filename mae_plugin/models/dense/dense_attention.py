"""Attention for dense prediction: in windows, and with relative positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_plugin.geometry import Grid
from mae_plugin.models.block import Attention
from mae_plugin.models.dense.rel_pos import attention_with_positions
from mae_plugin.models.dense.window import window_partition, window_unpartition
from mae_plugin.models.positions import rotate


class DenseAttention(nn.Module):
    """The trunk's attention on a grid of tokens, with the trunk's projections.

    Args:
        attn: Attention whose projections are taken over, parameter names included.
        window_size: Side of the windows, in tokens; 0 attends globally.
        rel_pos_grid: Grid (h, w) at which relative positions are made, zero-initialised; other
            grids get them resized. None for none.
    """

    def __init__(
        self, attn: Attention, window_size: int = 0, rel_pos_grid: Grid | None = None
    ) -> None:
        super().__init__()
        self.num_heads = attn.num_heads
        self.qkv = attn.qkv
        self.proj = attn.proj
        self.window_size = window_size
        self.rel_pos_h = self.rel_pos_w = None
        if rel_pos_grid is not None:
            head_dims = self.proj.in_features // self.num_heads
            h, w = rel_pos_grid
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * h - 1, head_dims))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * w - 1, head_dims))

    def forward(self, x: Tensor, grid: Grid, rotations: Tensor | None = None) -> Tensor:
        """Attend within each window, or globally.

        Args:
            x: (B, P + h·w, D): P prefix tokens (none with windows), the grid in raster order.
            grid: (h, w).
            rotations: Of queries and keys, see ``RotaryPositions``; none with windows.

        Returns:
            As ``x``.
        """
        if not self.window_size:
            return self.proj(self._attend(self.qkv(x), grid, rotations))
        size = self.window_size
        # Padding counts as tokens of value zero (ViTDet), whose projection is the bias: padded
        # before it is added, nothing is projected in vain.
        qkv = window_partition(F.linear(x, self.qkv.weight), size, grid)
        if self.qkv.bias is not None:
            qkv = qkv + self.qkv.bias.to(qkv.dtype)
        windows = self._attend(qkv, (size, size))
        return self.proj(window_unpartition(windows, size, grid))

    def _attend(self, qkv: Tensor, grid: Grid, rotations: Tensor | None = None) -> Tensor:
        """(B, N, 3·D) to (B, N, D)."""
        b, n, _ = qkv.shape
        q, k, v = qkv.reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if rotations is not None:
            q, k = rotate(q, rotations), rotate(k, rotations)
        if self.rel_pos_h is None or self.rel_pos_w is None:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            out = attention_with_positions(q, k, v, self.rel_pos_h, self.rel_pos_w, grid)
        return out.transpose(1, 2).flatten(2)
