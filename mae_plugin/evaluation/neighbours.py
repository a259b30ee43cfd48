"""The images whose features are nearest to those of others.

N images, Q queries, D feature width, k neighbours.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 256  # queries compared at once: memory is that times N floats


@torch.no_grad()
def nearest(features: Tensor, queries: Sequence[int], k: int) -> tuple[Tensor, Tensor]:
    """The k nearest other images by cosine similarity, around the mean of all.

    Features of MAE share most of their length: as they are, every cosine is nearly one.

    Args:
        features: (N, D), of any scale.
        queries: Numbers of the Q images whose neighbours are looked for.
        k: As many as there are where N is smaller.

    Returns:
        Numbers int64 (Q, k), nearest first, and similarities (Q, k).
    """
    features = features.float()
    features = F.normalize(features - features.mean(dim=0), dim=1)
    k = min(k, len(features) - 1)
    ids, scores = [], []
    for chunk in torch.as_tensor(queries).split(_CHUNK):
        similarity = features[chunk] @ features.T
        similarity[torch.arange(len(chunk)), chunk] = -torch.inf
        best = similarity.topk(k, dim=1)
        ids.append(best.indices)
        scores.append(best.values)
    return torch.cat(ids), torch.cat(scores)
