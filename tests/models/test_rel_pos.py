"""Decomposed relative positions: loops, the bias matrix and the fused path agree."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bias_matrix import attention_with_bias_matrix
from torch.utils._python_dispatch import TorchDispatchMode

from mae_plugin.models.dense.rel_pos import attention_with_positions, offset_table

HEADS, DIMS = 2, 8
IMPLEMENTATIONS = [attention_with_bias_matrix, attention_with_positions]


def inputs(grid, table_grid=None, prefix=0, dtype=torch.float64):
    torch.manual_seed(0)
    h, w = table_grid or grid
    tokens = prefix + grid[0] * grid[1]
    qkv = [torch.randn(2, HEADS, tokens, DIMS, dtype=dtype) for _ in range(3)]
    tables = [torch.randn(2 * side - 1, DIMS, dtype=dtype) for side in (h, w)]
    return [tensor.requires_grad_() for tensor in (*qkv, *tables)]


def by_loops(q, k, v, rel_pos_h, rel_pos_w, grid):
    """Each pair of tokens by itself, for one image and one head."""
    h, w = grid
    prefix = len(q) - h * w
    logits = torch.zeros(len(q), len(q), dtype=q.dtype)
    for i in range(len(q)):
        for j in range(len(q)):
            logits[i, j] = q[i] @ k[j] / DIMS**0.5
            if i >= prefix and j >= prefix:
                (qh, qw), (kh, kw) = divmod(i - prefix, w), divmod(j - prefix, w)
                logits[i, j] += q[i] @ rel_pos_h[qh - kh + h - 1]
                logits[i, j] += q[i] @ rel_pos_w[qw - kw + w - 1]
    return logits.softmax(1) @ v


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
@pytest.mark.parametrize('prefix', [0, 1])
@pytest.mark.parametrize('grid', [(3, 4), (1, 5), (1, 1)])
def test_against_loops(implementation, grid, prefix):
    q, k, v, *tables = inputs(grid, prefix=prefix)
    out = implementation(q, k, v, *tables, grid)
    for image in range(2):
        for head in range(HEADS):
            at = (image, head)
            torch.testing.assert_close(out[at], by_loops(q[at], k[at], v[at], *tables, grid))


@pytest.mark.parametrize('table_grid', [(5, 3), (8, 8)])
@pytest.mark.parametrize('prefix', [0, 1])
def test_fused_equals_matrix_forward_and_backward(table_grid, prefix):
    """Also where the tables were made for another grid, in float32."""
    tensors = inputs((5, 3), table_grid, prefix, torch.float32)
    results = []
    for implementation in IMPLEMENTATIONS:
        out = implementation(*tensors, (5, 3))
        loss = (out * torch.arange(DIMS)).square().mean()
        results.append([out, *torch.autograd.grad(loss, tensors)])
    for matrix, fused in zip(*results):
        torch.testing.assert_close(fused, matrix, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    tensors = inputs((2, 3))
    assert torch.autograd.gradcheck(lambda *args: attention_with_positions(*args, (2, 3)), tensors)


def test_zero_tables_change_nothing():
    """A checkpoint without relative positions starts as the model that it was."""
    q, k, v, *_ = inputs((3, 4))
    zeros = torch.zeros(5, DIMS, dtype=q.dtype), torch.zeros(7, DIMS, dtype=q.dtype)
    plain = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attention_with_positions(q, k, v, *zeros, (3, 4)), plain)


def test_tables_of_another_size_are_resized_linearly():
    rel_pos = torch.randn(5, DIMS)
    table = offset_table(rel_pos, 4)
    # Half-pixel centres, as F.interpolate and detectron2 have them.
    centres = ((np.arange(7) + 0.5) * 5 / 7 - 0.5).clip(0, 4)
    for channel in range(DIMS):
        line = np.interp(centres, np.arange(5), rel_pos[:, channel])
        expected = [[line[q - k + 3] for k in range(4)] for q in range(4)]
        np.testing.assert_allclose(table[:, :, channel], expected, rtol=1e-5, atol=1e-6)


class LargestTensor(TorchDispatchMode):
    """The most elements that any operation's output has."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_no_matrix_of_all_pairs_is_ever_made():
    """Forward and backward; the reference makes several."""
    grid = (16, 24)
    pairs = 2 * HEADS * (grid[0] * grid[1]) ** 2
    largest = {}
    for implementation in IMPLEMENTATIONS:
        tensors = inputs(grid, dtype=torch.float32)
        with LargestTensor() as largest[implementation]:
            implementation(*tensors, grid).sum().backward()
    assert largest[attention_with_bias_matrix].numel == pairs
    assert largest[attention_with_positions].numel < pairs / 4
