"""The model that a checkpoint was trained as, from the config stored inside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from mae_plugin.checkpoint.coverage import require_whole
from mae_plugin.checkpoint.load import load_pretrained
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.checkpoint.stored_config import literal_config
from mae_plugin.errors import UserError
from mae_plugin.registry import MODELS


def model_of_checkpoint(checkpoint: str | Path, config: str | Path | None = None) -> nn.Module:
    """Build the pretraining model of a checkpoint and load its weights.

    Args:
        checkpoint: A run of this project, or, with ``config``, an official or other MAE file.
        config: Config file that describes the model; by default the one in the checkpoint.

    Returns:
        The model in evaluation mode.

    Raises:
        UserError: If the checkpoint brings no config, or one with a part that is not ours; if
            its weights do not fit, or are not all of the model's.
    """
    if config is not None:
        model_config = Config.fromfile(config).model
    else:
        meta = safe_load(checkpoint).get('meta') or {}
        if not isinstance(meta.get('cfg'), str):
            raise UserError(
                f'{checkpoint} does not say which model it is: give the config with --config, '
                'e.g. --config configs/mae_vit-b_pretrain.py for an official ViT-B file'
            )
        model_config = literal_config(meta['cfg']).get('model')
        if not isinstance(model_config, dict):
            raise UserError(f'the config stored in {checkpoint} has no model: give --config')
    model = _build(model_config, checkpoint if config is None else config, config is not None)
    report = load_pretrained(model, str(checkpoint))
    require_whole(report, model.state_dict(), str(checkpoint))
    return model.eval()


def _build(model_config: dict[str, Any], source: str | Path, is_file: bool) -> nn.Module:
    """Build a model, of parts that may be registered nowhere here."""
    try:
        return MODELS.build(model_config)
    except KeyError:
        unknown = _unknown_type(model_config)
        if unknown is None:
            raise
        way_out = (
            'add custom_imports=dict(imports=[MODULE]) to it, and run where MODULE can be imported'
            if is_file
            else "give the run's own config, whose custom_imports bring it: --config FILE"
        )
        raise UserError(
            f"the model of {source} has a part of your own, '{unknown}', which nothing here "
            f'registers: {way_out}'
        ) from None


def _unknown_type(part: Any) -> str | None:
    """The first type in a model's config that no registry of models has."""
    if isinstance(part, Mapping):
        kind = part.get('type')
        if isinstance(kind, str) and MODELS.get(kind) is None:
            return kind
        # Of other registries.
        part = [value for key, value in part.items() if not key.endswith(('init_cfg', 'norm_cfg'))]
    found = map(_unknown_type, part) if isinstance(part, list | tuple) else ()
    return next((kind for kind in found if kind), None)
