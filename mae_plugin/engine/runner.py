"""From a config to a runner: launching, resuming and starting weights in one place."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.utils import to_2tuple

from mae_plugin.checkpoint.safe_load import use_safe_loading
from mae_plugin.geometry import patch_grid

from .hooks import ScheduleHook, StartingWeightsHook
from .launch import prepare_launch
from .resume import agree_on_resume

# Toolboxes by their scope, and our extra that installs each.
_HOSTS = {'mmdet': 'det', 'mmseg': 'seg', 'mmpretrain': 'cls'}


def build_runner(
    cfg: Config,
    resume: str | None = None,
    pretrained: str | None = None,
    load_from: str | None = None,
) -> Runner:
    """Build the runner of a config, of ours or of a host's model.

    Checkpoints are read safely, whatever the config's hooks.

    Args:
        cfg: Config with ``work_dir`` and ``launcher`` set.
        resume: 'auto' goes on from the newest valid checkpoint in the work dir, if there is one;
            a path from that checkpoint; None starts afresh.
        pretrained: File with the weights to start from, in any format that
            :mod:`mae_plugin.checkpoint` knows. The trunk adapts them while loading.
        load_from: Checkpoint of the whole model, for evaluation.

    Raises:
        FileNotFoundError: There is no file ``pretrained`` or ``resume``.
        ValueError: If ``resume`` or ``pretrained`` cannot be used, warm-up outlasts training, the
            device lacks the precision, or the images do not fit the model.
    """
    if resume and pretrained:
        raise ValueError('--resume goes on with a run, --pretrained starts one: give one of them')
    if pretrained and '://' not in pretrained and not Path(pretrained).expanduser().exists():
        # Here, not after the data and the model are built.
        raise FileNotFoundError(f'--pretrained {pretrained}: no such file, check the path')
    _check_host(cfg.get('default_scope'))
    use_safe_loading()
    _check_schedule(cfg)
    if not load_from:
        _check_accumulation(cfg)
        _check_precision(cfg)
        scale_for_accumulation(cfg)
    _check_images(cfg, ('test_dataloader',) if load_from else ('train_dataloader',))
    _compile_loss(cfg)
    _pin_for_devices(cfg)
    prepare_launch(cfg)
    cfg.load_from = load_from or pretrained or cfg.get('load_from')
    if resume:
        checkpoint = agree_on_resume(resume, cfg)
        cfg.resume, cfg.load_from = checkpoint is not None, checkpoint or cfg.load_from
    if cfg.load_from:
        _replace_weights(cfg, pretrained)
    is_flexible = 'runner_type' in cfg
    runner = RUNNERS.build(cfg) if is_flexible else Runner.from_cfg(cfg)
    if cfg.load_from:
        # Strategies that shard load in their own way.
        fit = not (cfg.get('resume') or load_from or is_flexible)
        runner.register_hook(StartingWeightsHook(cfg.load_from, fit))
    runner.register_hook(ScheduleHook())
    return runner


def scale_for_accumulation(cfg: Config) -> None:
    """Let the learning rate follow the true global batch when gradients are accumulated.

    mmengine scales by batch size and processes alone; here ``accumulative_counts`` counts too.
    """
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    scaling = cfg.get('auto_scale_lr')
    if counts > 1 and scaling and scaling.get('enable'):
        scaling.base_batch_size = scaling.base_batch_size / counts


def _check_host(scope: str | None) -> None:
    """Refuse a config of a toolbox that is not installed: its registries would miss a type."""
    if scope in _HOSTS and importlib.util.find_spec(scope) is None:
        raise ValueError(
            f'this config needs {scope}, which is not installed: run `make test-env` in the '
            f"clone, or pip install -e '.[{_HOSTS[scope]}]' in an environment of your own"
        )


def _replace_weights(cfg: Config, pretrained: str | None) -> None:
    """Do not fetch the encoder that the config names when another file is loaded over it.

    An ``init_cfg`` that says how to load its file (BEiT's does) loads the other one in that way.
    """
    backbone = cfg.model.get('backbone')
    own = backbone.get('init_cfg') if isinstance(backbone, dict) else None
    if not own:
        return
    inits = own if isinstance(own, list) else [own]
    for init in inits:
        if pretrained and init.get('drop_relative_position_bias'):
            init.checkpoint, cfg.load_from = pretrained, None
            return
    if any(init.get('type') == 'Pretrained' for init in inits):
        backbone['init_cfg'] = [init for init in inits if init.get('type') != 'Pretrained'] or None


def _pin_for_devices(cfg: Config) -> None:
    """Leave pinned memory out where there is no device to copy to: torch would warn each epoch."""
    if get_device() != 'cpu':
        return
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if (cfg.get(loader) or {}).get('pin_memory'):
            cfg[loader].pin_memory = False


def _compile_loss(cfg: Config) -> None:
    """Hand the switch ``compile`` to a model that has its own.

    mmengine would compile the whole train step: it breaks into several graphs, and is compiled
    again whenever the learning rate changes.
    """
    if cfg.get('compile') and cfg.model.type.split('.')[-1] == 'MAE':
        cfg.model.compile = cfg.pop('compile')


def _check_schedule(cfg: Config) -> None:
    """Refuse a run that ends before one of its learning-rate phases begins."""
    max_epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    schedulers = cfg.get('param_scheduler')
    if max_epochs is None or not isinstance(schedulers, list):
        return
    for index, scheduler in enumerate(schedulers):
        begin = scheduler.get('begin', 0)
        if scheduler.get('by_epoch', True) and begin and begin >= max_epochs:
            raise ValueError(
                f'train_cfg.max_epochs={max_epochs}, but the {scheduler.type} of the learning '
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


def _check_precision(cfg: Config) -> None:
    """Refuse mmengine's mixed precision where it would fail on an assertion."""
    wrapper = cfg.get('optim_wrapper') or {}
    device = get_device()
    if wrapper.get('type') == 'AmpOptimWrapper' and device in ('cpu', 'mps'):
        raise ValueError(
            f'{wrapper.get("dtype") or "float16"} needs a GPU with AmpOptimWrapper, and the '
            f'device here is {device!r}: train with --amp float32'
        )


def _check_size(loader: str, size: Sequence[int], img_size: Sequence[int]) -> None:
    """Refuse height and width that changed places; tell of other sizes, which are resized."""
    size, img_size = tuple(size), tuple(img_size)
    if size == img_size:
        return
    if size == img_size[::-1]:
        raise ValueError(
            f"{loader}: size={size} and the model's img_size={img_size} have height and width in "
            'opposite order: both are (height, width)'
        )
    print_log(
        f"{loader}: images of size={size}, but the model's img_size={img_size}: its position "
        'embeddings are resized at every step; set img_size of backbone and decoder',
        logger='current',
        level=logging.WARNING,
    )


def _check_accumulation(cfg: Config) -> None:
    """Refuse a number of accumulated batches that mmengine would fail on with an assertion."""
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if not isinstance(counts, int) or counts < 1:
        raise ValueError(
            f'optim_wrapper.accumulative_counts={counts} must be a whole number of batches, 1 '
            'or more; 1 makes a step of each'
        )


def _check_images(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Refuse images that do not fit a MAE's patches or channels, before any worker starts."""
    if cfg.model.get('type', '').split('.')[-1] != 'MAE':
        return
    patch_size = cfg.model.backbone.get('patch_size', 16)
    channels = cfg.model.backbone.get('in_channels', 3)
    divisor = (cfg.model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        padded = None
        for transform in dataset.get('pipeline') or []:
            if 'size' in transform:
                padded = [side + -side % divisor for side in to_2tuple(transform.size)]
                patch_grid(padded, patch_size)
            if 'Load' in transform.type and transform.get('channels', 3) != channels:
                raise ValueError(
                    f'{loader}: {transform.type} gives {transform.get("channels", 3)} channels, '
                    f'the model takes in_channels={channels}: set `channels` of the transform'
                )
        if padded and loader == 'train_dataloader':
            _check_size(loader, padded, to_2tuple(cfg.model.backbone.get('img_size', 224)))
