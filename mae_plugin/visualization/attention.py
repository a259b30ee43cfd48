"""Where the class token looks: its attention in one block, drawn over the images.

Shapes: B images, H x W pixels, h x w patch grid, N heads.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.geometry import patch_grid
from mae_plugin.models.positions import rotate
from mae_plugin.models.vit import ViT

from .reconstruction import tile


def class_attention(vit: ViT, images: Tensor, block: int = -1) -> Tensor:
    """Attention of the class token to each patch: (B, N, h, w), see :func:`token_attention`.

    Raises:
        UserError: If there is no class token, or no such block.
    """
    if vit.cls_token is None:
        raise UserError('this encoder has no class token, so there is no attention of it to show')
    return token_attention(vit, images, 0, block)


@torch.no_grad()
def token_attention(vit: ViT, images: Tensor, token: int, block: int = -1) -> Tensor:
    """Attention of one token to each patch.

    Args:
        vit: The encoder.
        images: (B, C, H, W), normalised, of any size divisible by the patch size.
        token: Which one asks: prefix tokens first, then patches in raster order.
        block: Which block; negative ones count from the last.

    Returns:
        (B, N, h, w): the softmax over all tokens, so each head's map sums to at most one (the
        rest is what goes to the prefix tokens).

    Raises:
        UserError: If there is no such block.
    """
    if not -vit.num_layers <= block < vit.num_layers:
        raise UserError(f'block={block}: there are {vit.num_layers}, the last is -1')
    attention = vit.blocks[block].attn
    caught: list[Tensor] = []
    handle = attention.qkv.register_forward_hook(lambda *call: caught.append(call[-1]))
    try:
        vit(images)
    finally:
        handle.remove()
    # (B, P + L, 3 D) to queries and keys (B, N, P + L, D / N).
    q, k, _ = caught[0].unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    grid = patch_grid(tuple(images.shape[-2:]), vit.patch_size)
    extras = vit.positions.for_attention(grid, None, vit.num_prefix_tokens)
    if 'rotations' in extras:
        q, k = (rotate(part, extras['rotations']) for part in (q, k))
    logits = q[:, :, token : token + 1] @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    weights = logits.float().softmax(dim=3)[:, :, 0, vit.num_prefix_tokens :]
    return weights.unflatten(2, grid)


def attention_panels(images: np.ndarray, attention: Tensor, heads: bool = False) -> np.ndarray:
    """Pictures in rows: original, mean over heads, and maybe each head.

    Args:
        images: uint8 (B, H, W, 3) RGB.
        attention: (B, N, h, w).
        heads: Also draw a panel for each head.

    Returns:
        uint8 RGB picture, one row for each image.
    """
    maps = attention.mean(dim=1, keepdim=True)
    if heads:
        maps = torch.cat([maps, attention], dim=1)
    # A few patches hold most of the attention: without a limit the rest would be black.
    limit = maps.flatten(2).quantile(0.99, dim=2)[..., None, None].clamp(min=1e-12)
    maps = (maps / limit).clamp(0, 1)
    return tile([images, *(heat(images, one) for one in maps.unbind(1))])


def heat(images: np.ndarray, maps: Tensor) -> np.ndarray:
    """Lay values of patches over images as colours, dark where they are low.

    Args:
        images: uint8 (B, H, W, 3) RGB.
        maps: (B, h, w), 0 to 1.

    Returns:
        uint8 (B, H, W, 3) RGB.
    """
    large = F.interpolate(maps[:, None].float(), size=images.shape[1:3], mode='nearest')[:, 0]
    level = (large * 255).byte().cpu().numpy()
    colours = np.stack([cv2.applyColorMap(one, cv2.COLORMAP_INFERNO) for one in level])
    weight = 0.25 + 0.55 * level[..., None] / 255
    return (images * (1 - weight) + colours[..., ::-1] * weight).astype(np.uint8)
