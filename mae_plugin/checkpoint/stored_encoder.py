"""What the config that a run keeps beside its weights says of the encoder, and no tensor tells."""

from collections.abc import Mapping
from typing import Any

from mmengine.utils import to_2tuple
from torch import Tensor

from mae_plugin.arch import config_sizes
from mae_plugin.checkpoint.sizes import sizes
from mae_plugin.checkpoint.stored_config import stored_config
from mae_plugin.geometry import Grid, patch_grid

# No config, or one that describes something else.
_UNUSABLE = (KeyError, TypeError, AttributeError, ValueError)


def stored_grid(content: Mapping[str, Any], encoder: Mapping[str, Tensor]) -> Grid | None:
    """The patch grid that the config names, if it fits the encoder."""
    try:
        backbone = _backbone(content)
        img_size, patch_size = config_sizes(backbone)
        h, w = patch_grid(to_2tuple(img_size), patch_size)
        num_rows = {0, 1, sizes(encoder).cls_tokens}
        return (h, w) if encoder['pos_embed'].shape[1] - h * w in num_rows else None
    except _UNUSABLE:
        return None


def _backbone(content: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the backbone: of a MAE, classifier, detector or segmentor."""
    model = stored_config(content)['model']
    return model.get('module', model)['backbone']
