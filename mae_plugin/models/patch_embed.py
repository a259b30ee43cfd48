"""Images to patches and back, and the linear patch projection."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid, patch_grid


def _split(images: Tensor, patch_size: int) -> Tensor:
    """View (B, C, H, W) as (B, h, w, C, p, p) without copying."""
    b, c, height, width = images.shape
    h, w = patch_grid((height, width), patch_size)
    return images.reshape(b, c, h, patch_size, w, patch_size).permute(0, 2, 4, 1, 3, 5)


def _select(patches: Tensor, ids: Tensor | None) -> Tensor:
    """Patches (B, h, w, ...) in raster order, (B, L, ...), or those at ``ids``, (B, K, ...).

    Indexing the strided view copies the chosen patches alone: removed ones cost nothing.
    """
    if ids is None:
        return patches.flatten(1, 2)
    rows = torch.arange(patches.shape[0], device=ids.device)[:, None]
    w = patches.shape[2]
    return patches[rows, ids // w, ids % w]


def patchify(images: Tensor, patch_size: int, ids: Tensor | None = None) -> Tensor:
    """Cut images into flat patches in the official order, pixel by pixel, channel last.

    Args:
        images: (B, C, H, W).
        patch_size: p.
        ids: (B, K) raster indices of the patches wanted; all when None.

    Returns:
        (B, L, p·p·C), or (B, K, p·p·C) with ``ids``.
    """
    return _select(_split(images, patch_size), ids).permute(0, 1, 3, 4, 2).flatten(2)


def unpatchify(patches: Tensor, patch_size: int, grid: Grid) -> Tensor:
    """Inverse of :func:`patchify`: (B, L, p·p·C) in raster order to (B, C, H, W).

    Raises:
        UserError: If L is not h·w, or the width no multiple of p·p.
    """
    b, length, dims = patches.shape
    (h, w), p = grid, patch_size
    if length != h * w or dims % (p * p):
        raise UserError(
            f'patches of shape {tuple(patches.shape)} do not make a grid of {h}x{w} with '
            f'patch_size={p}'
        )
    patches = patches.reshape(b, h, w, p, p, dims // (p * p)).permute(0, 5, 1, 3, 2, 4)
    return patches.reshape(b, -1, h * p, w * p)


class PatchEmbed(nn.Module):
    """Linear projection of flat patches; ``proj`` has the official convolution's layout.

    The patches are gathered before they are projected, so that MAE's encoder embeds the visible
    ones alone. That equals a convolution with stride ``patch_size``.

    Args:
        patch_size: p.
        in_channels: C, any number.
        embed_dims: D.
    """

    def __init__(self, patch_size: int, in_channels: int, embed_dims: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, patch_size)

    def init_weights(self) -> None:
        """Xavier-uniform as a flattened linear layer (official code); the bias is the default."""
        nn.init.xavier_uniform_(self.proj.weight.flatten(1))

    def forward(self, images: Tensor, ids: Tensor | None = None) -> Tensor:
        """Embed the patches at ``ids`` (B, K), or all of them.

        Args:
            images: (B, C, H, W), H and W divisible by p.
            ids: Raster indices (B, K), or None.

        Returns:
            (B, K, D), or (B, L, D) without ``ids``.

        Raises:
            UserError: If the number of channels differs from the model's.
        """
        if images.shape[1] != self.proj.in_channels:
            raise UserError(
                f'images have {images.shape[1]} channels, the model takes '
                f'{self.proj.in_channels}: set `in_channels` (and the mean and std) of the model, '
                'or `channels` of the loading transform'
            )
        patches = _select(_split(images, self.patch_size), ids).flatten(2)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)
