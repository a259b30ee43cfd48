"""What the patches' features have in common: their first three principal components as colours.

Shapes: B images, h x w patch grid, D feature width.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .reconstruction import tile


def pca_colours(features: Tensor) -> Tensor:
    """Colours of patches by the principal components that all given images share.

    Like parts of different images get like colours, since the components are fitted on all of
    them together. Each is stretched between its 1st and 99th percentile.

    Args:
        features: (B, h, w, D) patch features, at least three patches in all.

    Returns:
        (B, h, w, 3) in 0 to 1.

    Raises:
        ValueError: If there are fewer than three patches or channels.
    """
    flat = features.flatten(0, 2).double()
    if min(flat.shape) < 3:
        raise ValueError(
            f'{flat.shape[0]} patches of width {flat.shape[1]} have no three principal '
            'components: use a larger image'
        )
    flat = flat - flat.mean(dim=0)
    _, vectors = torch.linalg.eigh(flat.T @ flat)
    largest = vectors[:, -3:].flip(1)
    # An eigenvector's sign is arbitrary: fix it, so that every run gives the same colours.
    peak = largest.abs().argmax(dim=0, keepdim=True)
    scores = flat @ (largest * largest.gather(0, peak).sign())
    low, high = (torch.tensor(np.quantile(scores.cpu().numpy(), q, axis=0)) for q in (0.01, 0.99))
    low, high = low.to(scores), high.to(scores)
    scores = ((scores - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return scores.reshape(*features.shape[:3], 3).float()


def feature_panels(images: np.ndarray, features: Tensor) -> np.ndarray:
    """Pictures in rows: original, and its patches' colours.

    Args:
        images: uint8 (B, H, W, 3) RGB.
        features: (B, h, w, D), see :func:`mae_plugin.evaluation.encoder.patch_features`.

    Returns:
        uint8 RGB picture, one row for each image.
    """
    colours = pca_colours(features).permute(0, 3, 1, 2)
    colours = F.interpolate(colours, size=images.shape[1:3], mode='nearest')
    pixels = (colours * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return tile([images, pixels])
