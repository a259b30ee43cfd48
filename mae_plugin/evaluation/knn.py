"""Weighted k-nearest-neighbour classification of frozen features (DINO's protocol).

Shapes: N training and M test images, D feature width, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.errors import UserError


@torch.no_grad()
def knn_scores(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
    chunk_size: int = 1024,
) -> Tensor:
    """Votes of the k most similar training images, each weighted by ``exp(cosine / T)``.

    Args:
        train_features: (N, D), of any scale: they are normalised to length one.
        train_labels: int64 (N,).
        test_features: (M, D).
        num_classes: C.
        k: Neighbours; all N when N is smaller. DINO reports 10, 20, 100 and 200, best at 20.
        temperature: T; DINO's 0.07.
        chunk_size: Test images compared at once: memory is ``chunk_size`` · N floats.

    Returns:
        (M, C), each row summing to one.

    Raises:
        UserError: If ``k`` or ``temperature`` is not positive, or shapes do not fit.
    """
    if k < 1 or temperature <= 0:
        raise UserError(f'k={k} must be at least 1 and temperature={temperature} positive')
    if len(train_features) != len(train_labels) or not len(train_labels):
        raise UserError(
            f'{len(train_features)} training features with {len(train_labels)} labels: kNN needs '
            'one label for each, and at least one image'
        )
    k = min(k, len(train_features))
    train_features = F.normalize(train_features, dim=1)
    scores = []
    for features in test_features.split(chunk_size):
        similarity, index = (F.normalize(features, dim=1) @ train_features.T).topk(k, dim=1)
        # softmax is exp(cosine / T) up to a factor per row, which no vote depends on.
        weight = (similarity / temperature).softmax(dim=1)
        votes = weight.new_zeros(len(features), num_classes)
        scores.append(votes.scatter_add_(1, train_labels[index], weight))
    return torch.cat(scores)


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent of scores (M, C) against labels (M,)."""
    return (scores.argmax(dim=1) == labels).float().mean().item() * 100
