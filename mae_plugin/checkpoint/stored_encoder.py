"""What the config that a run keeps beside its weights says of the encoder, and no tensor tells."""

from collections.abc import Mapping
from typing import Any

from mmengine.utils import to_2tuple
from torch import Tensor

from mae_plugin.arch import parse_arch
from mae_plugin.checkpoint.stored_config import literal_config
from mae_plugin.geometry import Grid, patch_grid

from .fit import sizes

# Backbones whose `arch` means what it means here.
_OWN_TYPES = ('ViT', 'ViTBackbone')
# No config, or one that describes something else.
_UNUSABLE = (KeyError, TypeError, AttributeError, ValueError)


def stored_grid(content: Mapping[str, Any], encoder: Mapping[str, Tensor]) -> Grid | None:
    """The patch grid that the config names, if it fits the encoder."""
    try:
        backbone = _backbone(content)
        img_size, patch_size = backbone.get('img_size', 224), backbone.get('patch_size', 16)
        h, w = patch_grid(to_2tuple(img_size), patch_size)
        return (h, w) if encoder['pos_embed'].shape[1] - h * w in (0, 1) else None
    except _UNUSABLE:
        return None


def stored_heads(
    content: Mapping[str, Any], encoder: Mapping[str, Tensor], root: str
) -> int | None:
    """The attention heads of one of our backbones, if the config describes this encoder.

    Args:
        content: The file.
        encoder: The encoder's tensors under our names.
        root: What precedes its keys in the file.
    """
    try:
        backbone = _backbone(content)
        kind = str(backbone['type']).split('.')[-1]
        arch = parse_arch(backbone.get('arch', 'base'))
        size = sizes(encoder)
    except _UNUSABLE:
        return None
    fits = (arch.embed_dims, arch.num_layers) == (size.width, size.depth)
    is_own = kind in _OWN_TYPES and root.endswith('backbone.')
    return arch.num_heads if fits and is_own else None


def _backbone(content: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the backbone: of a MAE, classifier, detector or segmentor."""
    model = literal_config(content['meta']['cfg'])['model']
    return model.get('module', model)['backbone']
