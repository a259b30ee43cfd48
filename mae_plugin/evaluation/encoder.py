"""The frozen encoder of any checkpoint, ready to give features."""

import math
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from mae_plugin.arch import ARCHS
from mae_plugin.checkpoint.fit import Sizes, sizes
from mae_plugin.checkpoint.load import load_pretrained, read_checkpoint
from mae_plugin.checkpoint.recognise import recognise
from mae_plugin.checkpoint.stored_config import literal_config
from mae_plugin.models.preprocessor import MAEDataPreprocessor
from mae_plugin.models.vit import ViT
from mae_plugin.shipped import config_path


def load_encoder(
    checkpoint: str | Path, num_heads: int | None = None, config: str | Path | None = None
) -> tuple[ViT, MAEDataPreprocessor]:
    """Build the ViT that a checkpoint holds, whatever its layout, and load it.

    Args:
        checkpoint: A run of this project, or any file that
            :func:`~mae_plugin.checkpoint.load_pretrained` knows.
        num_heads: Attention heads, which no weight tells. By default the run's own, or those of
            the ViT size that the file has.
        config: Config file of the model; by default the one in the checkpoint, if any.

    Returns:
        The encoder in evaluation mode, without gradients, and the preprocessor of its images:
        the run's own, or ImageNet's mean and deviation.

    Raises:
        ValueError: If there is no ViT in the file, or no square of positions; if it is of a size
            of its own and nothing tells the number of heads.
    """
    content = read_checkpoint(str(checkpoint))
    encoder = recognise(content).encoder
    size = sizes(encoder)
    stored = _stored_model(content) if config is None else read_model_config(config)
    backbone = stored.get('backbone') or {}
    num_heads = num_heads or _num_heads(size, backbone)
    if num_heads is None:
        raise ValueError(
            f'{checkpoint} does not say how many attention heads its encoder has (width '
            f'{size.width}, {size.depth} blocks: no known size), and a wrong number gives wrong '
            'features: give num_heads (--num-heads N), or the config (--config FILE)'
        )
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
    statistics = stored.get('data_preprocessor') or {}
    known = {key: statistics[key] for key in ('mean', 'std') if key in statistics}
    if not known and size.in_channels != 3:
        known = dict(mean=[127.5] * size.in_channels, std=[127.5] * size.in_channels)
    return vit.eval(), MAEDataPreprocessor(**known)


def _stored_model(content: dict) -> dict:
    text = (content.get('meta') or {}).get('cfg') if isinstance(content, dict) else None
    return literal_config(text).get('model') or {} if isinstance(text, str) else {}


def read_model_config(config: str | Path) -> dict:
    """The model of a config file.

    Raises:
        ValueError: If there is no such file, or no model in it.
    """
    if not Path(config).is_file():
        config = config_path(str(config))
    model = Config.fromfile(config).get('model')
    if not isinstance(model, dict):
        raise ValueError(f'{config} has no model: it is a part that other configs inherit')
    return model


def _num_heads(size: Sizes, backbone: dict) -> int | None:
    arch = backbone.get('arch')
    told = arch.get('num_heads') if isinstance(arch, dict) else backbone.get('num_heads')
    if told:
        return told
    # Other toolboxes have other names for the sizes ('b'): then the shapes decide.
    name = arch if isinstance(arch, str) and arch in ARCHS else size.arch
    return ARCHS[name].num_heads if name in ARCHS else None


def _img_size(size: Sizes) -> int:
    side = math.isqrt(max(0, size.positions - int(size.cls_token)))
    if side == 0:
        return 224 // size.patch_size * size.patch_size
    return side * size.patch_size


def random_encoder(like: ViT) -> ViT:
    """A frozen ViT of the same sizes that has seen nothing, as MAE initialises it.

    Built anew: positions, layer scales and biases that ``like`` has learned would stay in it.
    """
    blocks = like.blocks
    rows, columns = like.grid
    vit = ViT(
        arch=dict(
            embed_dims=like.embed_dims,
            num_layers=like.num_layers,
            num_heads=blocks[0].attn.num_heads,
            mlp_ratio=blocks[0].mlp.fc1.out_features / like.embed_dims,
        ),
        img_size=(rows * like.patch_size, columns * like.patch_size),
        patch_size=like.patch_size,
        in_channels=like.patch_embed.proj.in_channels,
        with_cls_token=like.cls_token is not None,
    )
    vit.init_weights()
    vit.requires_grad_(False)
    return vit.eval()


@torch.no_grad()
def patch_features(vit: ViT, images: Tensor) -> Tensor:
    """Features of each patch on its grid: images (B, C, H, W), normalised, to (B, h, w, D)."""
    grid = [side // vit.patch_size for side in images.shape[-2:]]
    return vit(images)[:, vit.num_prefix_tokens :].unflatten(1, grid)
