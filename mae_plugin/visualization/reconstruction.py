"""The four-panel picture: original | masked | reconstruction | with the visible patches."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.geometry import patch_grid
from mae_plugin.models.mae import MAE

GAP = 4  # pixels between panels
GREY = 127  # of removed patches
PANELS = ('original', 'masked', 'reconstruction', 'reconstruction + visible')


def display_bands(channels: int, bands: Sequence[int] | None = None) -> list[int]:
    """Which three channels to show as red, green and blue.

    Args:
        channels: C of the images.
        bands: The user's choice of one or three; by default the first three, or the only one.

    Raises:
        UserError: If ``bands`` are not one or three channels that exist.
    """
    if bands is None:
        bands = range(3) if channels >= 3 else [0]
    bands = list(bands)
    if len(bands) not in (1, 3) or not all(0 <= band < channels for band in bands):
        raise UserError(f'bands={bands}: give one or three channels between 0 and {channels - 1}')
    return bands * 3 if len(bands) == 1 else bands


def to_display(images: Tensor, reference: Tensor, bands: Sequence[int]) -> np.ndarray:
    """Images of any range and channels to uint8 RGB.

    Pictures of up to four channels within 0 to 255 are shown as they are. Others (many bands,
    16 bits, floats) are stretched between the 2nd and 98th percentile of ``reference``, per band,
    so that original and reconstruction share one scale.

    Args:
        images: (B, C, H, W) in the loader's units.
        reference: (B, C, H, W) original images, which set the scale.
        bands: Three channels.

    Returns:
        uint8 (B, H, W, 3).
    """
    images, scale = images[:, bands].float(), reference[:, bands].float()
    fractions = reference.is_floating_point() and scale.max() <= 1
    if reference.shape[1] > 4 or scale.max() > 255 or fractions:
        flat = scale.transpose(0, 1).flatten(1)[:, : 1 << 22]  # quantile's limit
        low, high = (flat.quantile(q, dim=1)[None, :, None, None] for q in (0.02, 0.98))
        images = (images - low) / (high - low).clamp(min=1e-12) * 255
    return images.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def reconstruction_panels(
    model: MAE,
    images: Tensor,
    keys: Sequence[int] | None = None,
    bands: Sequence[int] | None = None,
) -> np.ndarray:
    """Draw the pictures of :func:`reconstruction_pictures` as one: a row for each image."""
    return tile(reconstruction_pictures(model, images, keys, bands))


@torch.no_grad()
def reconstruction_pictures(
    model: MAE,
    images: Tensor,
    keys: Sequence[int] | None = None,
    bands: Sequence[int] | None = None,
) -> list[np.ndarray]:
    """Original, masked, reconstruction, and reconstruction with the visible patches.

    Args:
        model: A MAE whose data preprocessor normalises the images.
        images: (B, C, H, W) raw images as the loading transforms give them.
        keys: Sample keys that fix the masks; None draws random ones.
        bands: Channels shown; see :func:`display_bands`.

    Returns:
        Four times uint8 (B, H, W, 3) RGB. A target without pixels (tokens) has no reconstruction:
        then there are the first two.
    """
    was_training = model.training
    model.eval()
    samples = None if keys is None else [_Key(int(key)) for key in keys]
    batch = model.data_preprocessor(dict(inputs=images, data_samples=None))
    result = model.reconstruct(batch['inputs'], samples)
    model.train(was_training)

    # The preprocessor may have padded the images to whole patches, at the bottom and right.
    height, width = images.shape[-2:]
    grid = patch_grid(batch['inputs'].shape[-2:], model.backbone.patch_size)
    mask = result.mask.reshape(-1, *grid, 1).cpu().numpy().astype(bool)
    for axis in (1, 2):
        mask = mask.repeat(model.backbone.patch_size, axis=axis)
    mask = mask[:, :height, :width]

    bands = display_bands(images.shape[1], bands)
    original = to_display(images, images, bands)
    panels = [original, np.where(mask, np.uint8(GREY), original)]
    if result.images is not None:
        pixels = model.data_preprocessor.denormalize(result.images).cpu()
        reconstruction = to_display(pixels[..., :height, :width], images, bands)
        # Visible patches are seldom trained to be predicted: then grey, not noise.
        trained = mask | (model.loss_on == 'all')
        panels += [np.where(trained, reconstruction, np.uint8(GREY))]
        panels += [np.where(mask, reconstruction, original)]
    return panels


class _Key:
    """A data sample that has nothing but the key of its mask."""

    def __init__(self, sample_key: int) -> None:
        self.sample_key = sample_key


def tile(panels: list[np.ndarray]) -> np.ndarray:
    """Panels, each (B, H, W, 3), to one picture: a row for each image, white gaps between."""
    rows = []
    for images in zip(*panels):
        gap = np.full((images[0].shape[0], GAP, 3), 255, np.uint8)
        row = [part for image in images for part in (image, gap)][:-1]
        rows.append(np.concatenate(row, axis=1))
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for row in rows for part in (row, gap)][:-1], axis=0)


def stack_pictures(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of different sizes under each other, on white."""
    width = max(picture.shape[1] for picture in pictures)
    rows = [
        cv2.copyMakeBorder(
            picture, 0, GAP, 0, width - picture.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3
        )
        for picture in pictures
    ]
    return np.concatenate(rows)[:-GAP]


def enlarge(picture: np.ndarray, min_width: int = 1024) -> np.ndarray:
    """Enlarge a small picture by a whole factor, so that tiny models can be looked at."""
    factor = -(-min_width // picture.shape[1])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
