"""Ways to compute attention with decomposed relative positions, all with one signature.

Each takes ``(q, k, v, rel_pos_h, rel_pos_w, grid)`` as
:func:`mae_plugin.models.dense.rel_pos.attention_with_positions` does, and gives the same output
up to rounding. That one is what the backbone uses; the others compete with it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_plugin.geometry import Grid
from mae_plugin.models.dense.dense_attention import DenseAttention
from mae_plugin.models.dense.rel_pos import attention_with_positions, axis_biases

Attention = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Grid], Tensor]


class ChosenAttention(DenseAttention):
    """The backbone's attention with another way to add relative positions.

    Args:
        attn: Attention of the backbone; its parameters are taken over.
        attention: The way.
    """

    def __init__(self, attn: DenseAttention, attention: Attention) -> None:
        super().__init__(attn, attn.window_size)
        self.rel_pos_h, self.rel_pos_w = attn.rel_pos_h, attn.rel_pos_w
        self.attention = attention

    def _attend(self, qkv: Tensor, grid: Grid, rotations: Tensor | None = None) -> Tensor:
        q, k, v = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        assert self.rel_pos_h is not None and self.rel_pos_w is not None
        out = self.attention(q, k, v, self.rel_pos_h, self.rel_pos_w, grid)
        return out.transpose(1, 2).flatten(2)


def use_attention(backbone: nn.Module, globally: Attention, windows: Attention) -> nn.Module:
    """A copy of a ``ViTBackbone`` that adds relative positions in another way.

    Args:
        backbone: The backbone.
        globally: The way of blocks that attend globally.
        windows: The way of blocks with windows.
    """
    changed = copy.deepcopy(backbone)
    for block in changed.blocks:
        way = windows if block.attn.window_size else globally
        block.attn = ChosenAttention(block.attn, way)
    return changed


def eager(
    q: Tensor, k: Tensor, v: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: Grid
) -> Tensor:
    """Written out, as detectron2's ViTDet and mmpretrain's ViTSAM do: logits, bias, softmax."""
    logits = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    bias = _bias_matrix(q, rel_pos_h, rel_pos_w, grid)
    return (logits + bias).softmax(dim=-1).to(v.dtype) @ v


def masked(
    q: Tensor, k: Tensor, v: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: Grid
) -> Tensor:
    """The bias as a matrix, added by PyTorch's kernel as ``attn_mask``."""
    bias = _bias_matrix(q, rel_pos_h, rel_pos_w, grid)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def flex(
    q: Tensor, k: Tensor, v: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: Grid
) -> Tensor:
    """FlexAttention: the two numbers are added inside the kernel; no matrix, no wider heads."""
    biases = axis_biases(q, rel_pos_h, rel_pos_w, grid).to(q.dtype)
    rel_h, rel_w = (part.contiguous() for part in biases.split(grid, dim=3))
    width = grid[1]

    def add_bias(score: Tensor, b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + rel_h[b, head, query, key // width] + rel_w[b, head, query, key % width]

    return _flex_attention(q.device.type)(q, k, v, score_mod=add_bias)


def _bias_matrix(q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: Grid) -> Tensor:
    rel_h, rel_w = axis_biases(q, rel_pos_h, rel_pos_w, grid).split(grid, dim=3)
    return (rel_h[..., :, None] + rel_w[..., None, :]).flatten(3).to(q.dtype)


@functools.cache
def _flex_attention(device_type: str) -> Callable[..., Any]:
    """FlexAttention, compiled where it has a kernel with a backward pass."""
    from torch.nn.attention.flex_attention import flex_attention

    run: Callable[..., Any] = flex_attention
    return torch.compile(run, dynamic=False) if device_type == 'cuda' else run


# In global blocks, and in windows.
WAYS: dict[str, tuple[Attention, Attention]] = {
    'mae_plugin': (attention_with_positions, attention_with_positions),
    'bias as attn_mask': (masked, masked),
    'FlexAttention': (flex, flex),
    'FlexAttention in global blocks': (flex, attention_with_positions),
    'eager': (eager, eager),
}
