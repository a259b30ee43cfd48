"""Size and channels of the images that a MAE is trained on: said of its encoder, once."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mae_plugin.arch import config_sizes
from mae_plugin.datasets.crop_loader import CropLoader
from mae_plugin.models.mae import MAE
from mae_plugin.registry import MODELS, TRANSFORMS, builds

from .config_checks import transforms_of
from .loaders import LOADERS


def hand_on_image_shape(cfg: Mapping[str, Any] | Config) -> None:
    """Give the loading transforms of a MAE's images its size and channels, where they say none.

    Our tools do so for all loaders of a run; ``ResumableEpochLoop`` does so for its own, so that
    a host's tools, which know nothing of it, train on the same images.

    Args:
        cfg: A run's config, or as much of it: ``model``, ``default_scope`` and loaders, which are
            changed in place.
    """
    scope, model = cfg.get('default_scope'), cfg.get('model') or {}
    if not builds(MODELS, model, MAE, scope):
        return
    backbone = model['backbone']
    facts = dict(size=config_sizes(backbone)[0], channels=backbone.get('in_channels', 3))
    for loader in LOADERS:
        for transform in transforms_of(cfg, loader):
            if builds(TRANSFORMS, transform, CropLoader, scope):
                for name, value in facts.items():
                    transform.setdefault(name, value)
