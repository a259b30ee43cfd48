"""Decomposed relative positions (MViTv2, ViTDet), computed without a bias matrix.

Query q gets ``rel_h[q, row of k] + rel_w[q, column of k]`` added to its logit for key k, where
``rel_h`` and ``rel_w`` are its products with learnt vectors of the row and column offsets. Those
L x (h + w) numbers are all there is: written behind the query, with one-hot rows and columns
behind the keys, the dot product of the two adds the bias, and attention stays one fused kernel
that never holds the L x L matrix.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.geometry import Grid, is_same_size


def offset_table(rel_pos: Tensor, length: int) -> Tensor:
    """Vectors of all pairs of coordinates along one axis.

    Args:
        rel_pos: (2S - 1, d), vectors of the offsets -(S - 1) ... S - 1; resized linearly when
            made for another length, as detectron2 does.
        length: Number n of coordinates.

    Returns:
        (n, n, d): at [q, k] the vector of the offset q - k.
    """
    if not is_same_size(rel_pos.shape[:1], [2 * length - 1]):
        resized = F.interpolate(rel_pos.T[None].float(), size=2 * length - 1, mode='linear')
        rel_pos = resized[0].T.to(rel_pos.dtype)
    coords = torch.arange(length, device=rel_pos.device)
    return rel_pos[coords[:, None] - coords[None, :] + length - 1]


def axis_biases(q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: Grid) -> Tensor:
    """Bias of each query for each row and each column of keys.

    Args:
        q: (B, heads, P + h·w, d): P prefix tokens, which have no position and get zeros.
        rel_pos_h: (2S - 1, d) for rows.
        rel_pos_w: (2S - 1, d) for columns.
        grid: (h, w).

    Returns:
        (B, heads, P + h·w, h + w), rows first.
    """
    h, w = grid
    prefix = q.shape[2] - h * w
    table_h = offset_table(rel_pos_h, h).to(q.dtype)
    table_w = offset_table(rel_pos_w, w).to(q.dtype)
    q = q[:, :, prefix:].unflatten(2, (h, w))
    rel_h = torch.einsum('bnhwd,hkd->bnhwk', q, table_h)
    rel_w = torch.einsum('bnhwd,wkd->bnhwk', q, table_w)
    return F.pad(torch.cat([rel_h, rel_w], dim=-1).flatten(2, 3), (0, 0, prefix, 0))


def one_hot_coordinates(grid: Grid, prefix: int, like: Tensor) -> Tensor:
    """Row and column of each key, (P + h·w, h + w) with ``like``'s dtype; zeros for a prefix."""
    h, w = grid
    eye_h, eye_w = (torch.eye(n, device=like.device).to(like.dtype) for n in grid)
    codes = torch.cat([eye_h.repeat_interleave(w, dim=0), eye_w.repeat(h, 1)], dim=1)
    return F.pad(codes, (0, 0, prefix, 0))


def attention_with_positions(
    q: Tensor, k: Tensor, v: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: Grid
) -> Tensor:
    """Attention with decomposed relative positions through a fused kernel, without a bias matrix.

    Args:
        q: Queries, (B, heads, P + h·w, d): P prefix tokens, then the grid in raster order.
        k: Keys, as ``q``.
        v: Values, as ``q``.
        rel_pos_h: (2S - 1, d).
        rel_pos_w: (2S - 1, d).
        grid: (h, w).

    Returns:
        (B, heads, P + h·w, d).
    """
    dims = q.shape[3]
    biases = axis_biases(q, rel_pos_h, rel_pos_w, grid)
    codes = one_hot_coordinates(grid, q.shape[2] - grid[0] * grid[1], like=k)
    q = torch.cat([q * dims**-0.5, biases], dim=-1)
    k = torch.cat([k, codes.expand_as(biases)], dim=-1)
    # Kernels are fused only where q, k and v have the same width.
    v = F.pad(v, (0, biases.shape[3]))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :dims]
