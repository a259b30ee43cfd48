"""What the patches' features have in common: their first three principal components as colours.

Shapes: H x W pixels, h x w patch grid, D feature width.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.errors import UserError

from .reconstruction import stack_pictures, tile


def pca_colours(features: Sequence[Tensor]) -> list[Tensor]:
    """Colours of patches by the principal components that all given images share.

    Like parts of different images get like colours, since the components are fitted on all of
    them together. Each is stretched between its 1st and 99th percentile.

    Args:
        features: For each image (h, w, D) patch features; at least three patches in all.

    Returns:
        For each image (h, w, 3) in 0 to 1.

    Raises:
        UserError: If there are fewer than three patches or channels.
    """
    flat = torch.cat([each.flatten(0, 1) for each in features]).double()
    if min(flat.shape) < 3:
        raise UserError(
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
    scores = ((scores - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).float()
    grids = [each.shape[:2] for each in features]
    parts = scores.split([h * w for h, w in grids])
    return [part.unflatten(0, grid) for part, grid in zip(parts, grids)]


def feature_panels(images: Sequence[np.ndarray], features: Sequence[Tensor]) -> np.ndarray:
    """Pictures in rows: original, and its patches' colours.

    Args:
        images: For each, of sizes of their own, uint8 (H, W, 3) RGB.
        features: For each (h, w, D), see
            :func:`mae_plugin.evaluation.encoder.patch_features`.

    Returns:
        uint8 RGB picture, one row for each image.
    """
    rows = []
    for image, colours in zip(images, pca_colours(features), strict=True):
        large = F.interpolate(colours.permute(2, 0, 1)[None], size=image.shape[:2])
        pixels = (large * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        rows.append(tile([image[None], pixels]))
    return stack_pictures(rows)
