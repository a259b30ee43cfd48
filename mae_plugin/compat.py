"""Private names of other libraries, one function each, with the versions that they were tried on.

Everything else in the package uses public names alone.
"""

import torch
from torch import Tensor


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., K) and (N, K) to (..., N) by oneDNN, which has no public name. No gradient.

    The result is no view, so that it may be changed in place. Tried on torch 2.13 (CPU build).
    """
    rows = x.reshape(-1, x.shape[-1])
    out = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, 'none', [], '')
    return torch.ops.aten._unsafe_view(out, [*x.shape[:-1], weight.shape[0]])
