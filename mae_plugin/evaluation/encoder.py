"""The frozen encoder of any checkpoint, ready to give features."""

import math
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from mae_plugin.arch import FAMILY_ARCHS
from mae_plugin.checkpoint.claims import claims_of_config, hub_statistics
from mae_plugin.checkpoint.encoder_arch import encoder_arch
from mae_plugin.checkpoint.load import load_pretrained, read_checkpoint
from mae_plugin.checkpoint.recognise import recognise
from mae_plugin.checkpoint.sizes import Sizes, sizes
from mae_plugin.checkpoint.stored_config import stored_config
from mae_plugin.errors import UserError
from mae_plugin.logs import log
from mae_plugin.models.preprocessor import MAEDataPreprocessor
from mae_plugin.models.vit import ViT
from mae_plugin.registry import MODELS, builds
from mae_plugin.shipped import config_path


def load_encoder(
    checkpoint: str | Path, num_heads: int | None = None, config: str | Path | None = None
) -> tuple[ViT, MAEDataPreprocessor]:
    """Build the ViT that a checkpoint holds, whatever its layout, and load it.

    Args:
        checkpoint: A run of this project, or any file that
            :func:`~mae_plugin.checkpoint.load_pretrained` knows.
        num_heads: Attention heads, which no weight tells. By default what the file says, or what
            all models of its layout and size have.
        config: Config file of the model; by default the one in the checkpoint, if any.

    Returns:
        The encoder in evaluation mode, without gradients, with the LayerNorms' eps that the file
        says; and the preprocessor of its images: the run's own, or ImageNet's mean and deviation.

    Raises:
        UserError: If there is no ViT in the file, or no square of positions; if nothing tells
            the number of heads; if the file says another one.
    """
    content = read_checkpoint(str(checkpoint))
    found = recognise(content, num_heads=num_heads)
    encoder, facts = found.encoder, found.facts
    size = sizes(encoder)
    stored = stored_config(content).get('model') or {}
    if config is not None:
        stored = read_model_config(config)
        num_heads = num_heads or claims_of_config(stored, size).get('num_heads')
    if num_heads is None and facts.num_heads is not None:
        num_heads = facts.num_heads.value
    if num_heads is None:
        raise UserError(
            f'{checkpoint} does not say how many attention heads its encoder has (width '
            f'{size.width}, {size.depth} blocks, {found.format.name}), and a wrong number gives '
            'wrong features: give num_heads (--num-heads N), or the config (--config FILE)'
        )
    backbone = stored.get('backbone') or {}
    arch = encoder_arch(found, num_heads)
    if isinstance(backbone.get('arch'), str) and backbone['arch'] in FAMILY_ARCHS:
        arch = arch._replace(positions=FAMILY_ARCHS[backbone['arch']].positions)
    vit = ViT(
        arch=arch,
        positions=backbone.get('positions'),
        img_size=backbone.get('img_size') or _img_size(size),
        in_channels=size.in_channels,
        qkv_bias='blocks.0.attn.qkv.bias' in encoder,
        final_norm='norm.weight' in encoder,
    )
    load_pretrained(vit, str(checkpoint), num_heads=num_heads)
    vit.requires_grad_(False)
    return vit.eval(), MAEDataPreprocessor(**_statistics(stored, content, size.in_channels))


def _statistics(stored: dict, content: dict, channels: int) -> dict[str, Any]:
    """Mean and deviation of the encoder's images: as the file says, or assumed, which is told."""
    told = stored.get('data_preprocessor') or hub_statistics(content)
    known = {key: told[key] for key in ('mean', 'std') if key in told}
    if known:
        return known
    if builds(MODELS, told, MAEDataPreprocessor, 'mae_plugin'):
        return dict(in_channels=channels)  # a run with the preprocessor's own values
    assumed = "ImageNet's mean and deviation"
    if channels != 3:
        known, assumed = dict(mean=[127.5] * channels, std=[127.5] * channels), 'the range -1 to 1'
    log(f'nothing tells how its images were normalised: {assumed} assumed')
    return known


def read_model_config(config: str | Path) -> dict:
    """The model of a config file.

    Raises:
        UserError: If there is no such file, or no model in it.
    """
    if not Path(config).is_file():
        config = config_path(str(config))
    model = Config.fromfile(config).get('model')
    if not isinstance(model, dict):
        raise UserError(f'{config} has no model: it is a part that other configs inherit')
    return model


def _img_size(size: Sizes) -> int:
    side = math.isqrt(max(0, size.positions - size.cls_tokens))
    if side == 0:
        return 224 // size.patch_size * size.patch_size
    return side * size.patch_size


def random_encoder(like: ViT) -> ViT:
    """A frozen ViT of the same sizes that has seen nothing, as MAE initialises it.

    Built anew: positions, layer scales and biases that ``like`` has learned would stay in it.
    """
    rows, columns = like.grid
    vit = ViT(
        arch=like.arch._replace(layer_scale_init=None),
        img_size=(rows * like.patch_size, columns * like.patch_size),
        patch_size=like.patch_size,
        in_channels=like.patch_embed.proj.in_channels,
    )
    vit.init_weights()
    vit.requires_grad_(False)
    return vit.eval()


@torch.no_grad()
def patch_features(vit: ViT, images: Tensor) -> Tensor:
    """Features of each patch on its grid: images (B, C, H, W), normalised, to (B, h, w, D)."""
    grid = [side // vit.patch_size for side in images.shape[-2:]]
    return vit(images)[:, vit.num_prefix_tokens :].unflatten(1, grid)
