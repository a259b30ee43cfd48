"""What is refused in a config before anything is built from it; nothing is changed here."""

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.utils import to_2tuple

from mae_plugin.arch import config_sizes
from mae_plugin.datasets.crop_loader import CropLoader
from mae_plugin.datasets.load_image import LoadImage
from mae_plugin.errors import UserError
from mae_plugin.geometry import patch_grid
from mae_plugin.logs import log
from mae_plugin.models.mae import MAE
from mae_plugin.registry import MODELS, TRANSFORMS, builds, type_name

# Toolboxes by their scope, and our extra that installs each.
_HOSTS = {'mmdet': 'det', 'mmseg': 'seg', 'mmpretrain': 'cls'}


def check_host(scope: str | None) -> None:
    """Refuse a config of a toolbox that is not installed: its registries would miss a type."""
    if scope in _HOSTS and importlib.util.find_spec(scope) is None:
        raise UserError(
            f'this config needs {scope}, which is not installed: run `make test-env` in the '
            f"clone, or pip install -e '.[{_HOSTS[scope]}]' in an environment of your own"
        )


def check_schedule(cfg: Config) -> None:
    """Refuse a run that ends before one of its learning-rate phases begins."""
    max_epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    schedulers = cfg.get('param_scheduler')
    if max_epochs is None or not isinstance(schedulers, list):
        return
    for index, scheduler in enumerate(schedulers):
        begin = scheduler.get('begin', 0)
        if scheduler.get('by_epoch', True) and begin and begin >= max_epochs:
            raise UserError(
                f'train_cfg.max_epochs={max_epochs}, but the {type_name(scheduler.type)} of the '
                f'learning '
                f'rate begins after epoch {begin} (warm-up): train longer, or '
                f'{_shorter_warm_up(max_epochs, index)}'
            )


def _shorter_warm_up(max_epochs: int, index: int) -> str:
    """What to do about a warm-up before scheduler ``index`` that leaves no epoch for it."""
    if max_epochs == 1:
        do, end = 'leave the warm-up out', 0
        first = f'param_scheduler.{index - 1}.start_factor=1.0 '
    else:
        do, end = 'shorten the warm-up', max(1, max_epochs // 10)
        first = f'param_scheduler.{index - 1}.end={end} '
    return f'{do} with --cfg-options {first * (index > 0)}param_scheduler.{index}.begin={end}'


def check_images(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Refuse images that do not fit a MAE's patches or channels, before any worker starts."""
    scope = cfg.get('default_scope')
    if not builds(MODELS, cfg.model, MAE, scope):
        return
    patch_size = config_sizes(cfg.model.backbone)[1]
    channels = cfg.model.backbone.get('in_channels', 3)
    divisor = (cfg.model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    for loader in loaders:
        padded = None
        for transform in transforms_of(cfg, loader):
            if 'size' in transform:
                padded = [side + -side % divisor for side in to_2tuple(transform.size)]
                patch_grid(padded, patch_size)
            loads = builds(TRANSFORMS, transform, (CropLoader, LoadImage), scope)
            if loads and transform.get('channels', 3) != channels:
                name = type_name(transform.type)
                raise UserError(
                    f'{loader}: {name} gives {transform.get("channels", 3)} channels, '
                    f'the model takes in_channels={channels}: set `channels` of the transform'
                )
        if padded and loader == 'train_dataloader':
            _check_size(loader, padded, to_2tuple(config_sizes(cfg.model.backbone)[0]))


def transforms_of(cfg: Mapping[str, Any] | Config, loader: str) -> list[Any]:
    """Configs of all transforms of a loader's images, those of several folders included."""
    dataset = (cfg.get(loader) or {}).get('dataset') or {}
    parts = dataset.get('datasets') or [dataset]
    return [transform for part in parts for transform in part.get('pipeline') or []]


def _check_size(loader: str, size: Sequence[int], img_size: Sequence[int]) -> None:
    """Refuse height and width that changed places; tell of other sizes, which are resized."""
    size, img_size = tuple(size), tuple(img_size)
    if size == img_size:
        return
    if size == img_size[::-1]:
        raise UserError(
            f"{loader}: size={size} and the model's img_size={img_size} have height and width in "
            'opposite order: both are (height, width)'
        )
    log(
        f"{loader}: images of size={size}, but the model's img_size={img_size}: its position "
        'embeddings are resized at every step; set model.backbone.img_size, or leave out the size',
        level=logging.WARNING,
    )
