"""The frozen encoder of any checkpoint, ready to give features."""

import math
from pathlib import Path

import torch
from torch import Tensor

from mae_plugin.checkpoint.fit import Sizes, sizes
from mae_plugin.checkpoint.load import load_pretrained, read_checkpoint
from mae_plugin.checkpoint.recognise import recognise
from mae_plugin.datasets.preprocessor import MAEDataPreprocessor
from mae_plugin.models.vit import ARCHS, ViT
from mae_plugin.stored_config import literal_config


def load_encoder(
    checkpoint: str | Path, num_heads: int | None = None
) -> tuple[ViT, MAEDataPreprocessor]:
    """Build the ViT that a checkpoint holds, whatever its layout, and load it.

    Args:
        checkpoint: A run of this project, or any file that
            :func:`~mae_plugin.checkpoint.load_pretrained` knows.
        num_heads: Attention heads, which no weight tells. By default the run's own, that of the
            ViT sizes, or one for each 64 of the width.

    Returns:
        The encoder in evaluation mode, without gradients, and the preprocessor of its images:
        the run's own, or ImageNet's mean and deviation.

    Raises:
        ValueError: If there is no ViT in the file, or no square of positions.
    """
    content = read_checkpoint(str(checkpoint))
    encoder = recognise(content).encoder
    size = sizes(encoder)
    stored = _stored_model(content)
    backbone = stored.get('backbone', {})
    if num_heads is None:
        num_heads = _num_heads(size, backbone.get('arch'))
    vit = ViT(
        arch=dict(
            embed_dims=size.width,
            num_layers=size.depth,
            num_heads=num_heads,
            mlp_ratio=size.hidden / size.width,
        ),
        img_size=backbone.get('img_size') or _img_size(size),
        patch_size=size.patch_size,
        in_channels=size.in_channels,
        with_cls_token=size.cls_token,
        qkv_bias='blocks.0.attn.qkv.bias' in encoder,
        layer_scale_init=1.0 if 'blocks.0.gamma_1' in encoder else None,
        final_norm='norm.weight' in encoder,
    )
    load_pretrained(vit, str(checkpoint))
    vit.requires_grad_(False)
    statistics = stored.get('data_preprocessor', {})
    known = {key: statistics[key] for key in ('mean', 'std') if key in statistics}
    if not known and size.in_channels != 3:
        known = dict(mean=[127.5] * size.in_channels, std=[127.5] * size.in_channels)
    return vit.eval(), MAEDataPreprocessor(**known)


def _stored_model(content: dict) -> dict:
    text = (content.get('meta') or {}).get('cfg') if isinstance(content, dict) else None
    return literal_config(text).get('model') or {} if isinstance(text, str) else {}


def _num_heads(size: Sizes, arch: str | dict | None) -> int:
    if isinstance(arch, dict):
        return arch['num_heads']
    name = arch or size.arch
    return ARCHS[name].num_heads if name in ARCHS else max(1, size.width // 64)


def _img_size(size: Sizes) -> int:
    side = math.isqrt(max(0, size.positions - int(size.cls_token)))
    if side == 0:
        return 224 // size.patch_size * size.patch_size
    return side * size.patch_size


@torch.no_grad()
def patch_features(vit: ViT, images: Tensor) -> Tensor:
    """Features of each patch on its grid: images (B, C, H, W), normalised, to (B, h, w, D)."""
    grid = [side // vit.patch_size for side in images.shape[-2:]]
    return vit(images)[:, vit.num_prefix_tokens :].unflatten(1, grid)
