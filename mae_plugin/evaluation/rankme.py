"""RankMe: how many directions frozen features use, without labels (Garrido et al. 2023).

https://arxiv.org/abs/2210.02885, equation 1. N images, D feature width.
"""

import torch
from torch import Tensor

EPSILON = 1e-7  # the paper's, for float32


@torch.no_grad()
def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the singular values, as shares of their sum.

    It lies between 1, all features on a line through the origin, and ``min(N, D)``. Only ranks of
    the same images are to be compared, of more than D where that is possible.

    Args:
        features: (N, D), as they are: neither centred nor normalised.
    """
    values = torch.linalg.svdvals(features.double().cpu())
    shares = values / values.sum().clamp(min=torch.finfo(torch.float64).tiny) + EPSILON
    return float(torch.exp(-(shares * shares.log()).sum()))
