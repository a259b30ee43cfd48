"""What a MAE draws back: pixels at every patch, the mask, the loss of each image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from mae_plugin.geometry import Grid, patch_grid
from mae_plugin.models.patch_embed import unpatchify

from .mae_checks import nothing_masked
from .masking import mask_from_ids, restore_ids


class Reconstruction(NamedTuple):
    """What :func:`reconstruct` returns.

    Attributes:
        images: (B, C, H, W) predicted pixels at every patch, in the normalised scale of the
            input; None for a target without pixels (tokens).
        mask: (B, L), raster order, 1 is masked.
        loss: (B,) loss of each image on its masked patches; on all where none is masked.
    """

    images: Tensor | None
    mask: Tensor
    loss: Tensor


@torch.no_grad()
def reconstruct(
    model: Any, inputs: Tensor, data_samples: Sequence[Any] | None = None
) -> Reconstruction:
    """Reconstruct normalised images (B, C, H, W), visible patches included.

    Args:
        model: A ``MAE``.
        inputs: The images.
        data_samples: One for each image; those with a ``sample_key`` get the mask that follows
            from it.

    Raises:
        UserError: If no patch is masked, unless the model was trained for that.
    """
    grid = patch_grid(inputs.shape[-2:], model.backbone.patch_size)
    ids_keep, ids_masked = model.mask(inputs, data_samples)
    if ids_masked.shape[1] == 0 and model.loss_on == 'masked':
        raise nothing_masked(model.masking, grid)
    tokens = model.encode(inputs, ids_keep, ids_masked)
    features, ids = model.decode(inputs, tokens, ids_keep, ids_masked, everything=True)
    predictions = model.head(features).float()

    scored = ids_masked if ids_masked.shape[1] else ids
    losses = [
        model.head.loss(
            predictions[i : i + 1, -scored.shape[1] :], inputs[i : i + 1], image_ids[None]
        )
        for i, image_ids in enumerate(scored)
    ]
    to_pixels = getattr(model.head.target, 'to_pixels', None)
    pixels = to_pixels and to_pixels(predictions, inputs, ids)
    if pixels is not None:
        order = restore_ids(ids_keep, ids_masked)[:, :, None].expand(-1, -1, pixels.shape[2])
        pixels = unpatchify(pixels.gather(1, order), model.backbone.patch_size, grid)
    mask = mask_from_ids(ids_masked, grid[0] * grid[1])
    return Reconstruction(pixels, mask, torch.stack(losses))


def data_elements(
    result: Reconstruction, grid: Grid, data_samples: Sequence[Any] | None = None
) -> list[BaseDataElement]:
    """A data element for each image, with the metainfo of its data sample.

    Args:
        result: Of B images.
        grid: Their patch grid (h, w).
        data_samples: Of the same images.

    Returns:
        B elements with ``mask`` (h, w), ``reconstruction_loss`` (scalar) and, where the target has
        pixels, ``reconstruction`` (C, H, W), normalised as the input.
    """
    elements = []
    for index in range(result.mask.shape[0]):
        element = BaseDataElement()
        if data_samples is not None:
            element.set_metainfo(dict(data_samples[index].metainfo_items()))
        element.mask = result.mask[index].reshape(grid)
        element.reconstruction_loss = result.loss[index]
        if result.images is not None:
            element.reconstruction = result.images[index]
        elements.append(element)
    return elements
