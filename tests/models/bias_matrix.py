"""Decomposed relative positions as eager implementations compute them: the reference."""

import torch.nn.functional as F

from mae_plugin.models.dense.rel_pos import axis_biases


def attention_with_bias_matrix(q, k, v, rel_pos_h, rel_pos_w, grid):
    """``attention_with_positions`` with the L x L logits and their bias written out."""
    h, w = grid
    prefix = q.shape[2] - h * w
    rel_h, rel_w = axis_biases(q, rel_pos_h, rel_pos_w, grid)[:, :, prefix:].split(grid, dim=3)
    bias = (rel_h[..., :, None] + rel_w[..., None, :]).flatten(3)
    logits = q * q.shape[3] ** -0.5 @ k.transpose(2, 3)
    logits = logits + F.pad(bias, (prefix, 0, prefix, 0))
    return logits.softmax(dim=-1) @ v
