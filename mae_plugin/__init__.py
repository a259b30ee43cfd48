"""MAE pretraining for OpenMMLab; importing this package imports nothing heavy."""

import importlib
from typing import Any

__version__ = '0.2.0'

# What a notebook needs, by the module that has it; imported when first asked for.
_LAZY = {
    'config_path': 'mae_plugin.shipped',
    'load_encoder': 'mae_plugin.evaluation.encoder',
    'load_image': 'mae_plugin.visualization.images',
    'model_of_checkpoint': 'mae_plugin.evaluation.stored_model',
    'patch_features': 'mae_plugin.evaluation.encoder',
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mae_plugin' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
