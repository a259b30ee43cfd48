"""From a config to a runner: launching, resuming and starting weights in one place."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, RUNNERS
from mmengine.runner import Runner
from mmengine.utils import to_2tuple

from mae_plugin.checkpoint.safe_load import use_safe_loading
from mae_plugin.geometry import patch_grid
from mae_plugin.registry import HOOKS, builds

from .accumulation import check_accumulation, scale_for_accumulation
from .batch_choice import BatchRequest, choose_batch
from .batch_probe import count_neighbours
from .hooks import StartingWeightsHook
from .launch import prepare_launch
from .loaders import check_epoch, settle_loaders
from .machine import usable_cores
from .resume import agree_on_resume, keep_seed, read_batch, trusts_checkpoints

# What tells a run that would mislead; the runtimes of our configs name them.
_NEEDED_HOOKS = (
    'mae_plugin.ScheduleHook',
    'mae_plugin.ResumeHook',
    'mae_plugin.BatchHook',
    'mae_plugin.ProgressHook',
)
# Toolboxes by their scope, and our extra that installs each.
_HOSTS = {'mmdet': 'det', 'mmseg': 'seg', 'mmpretrain': 'cls'}


def build_runner(
    cfg: Config,
    resume: str | None = None,
    pretrained: str | None = None,
    load_from: str | None = None,
    batch: BatchRequest | None = None,
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
        batch: What to do about the batch; None leaves it to the config.

    Raises:
        FileNotFoundError: There is no file ``pretrained`` or ``resume``.
        ValueError: If ``resume`` or ``pretrained`` cannot be used, warm-up outlasts training, no
            batch fits, or the images do not fit the model.
    """
    if resume and pretrained:
        raise ValueError('--resume goes on with a run, --pretrained starts one: give one of them')
    if pretrained and '://' not in pretrained and not Path(pretrained).expanduser().exists():
        # Here, not after the data and the model are built.
        raise FileNotFoundError(f'--pretrained {pretrained}: no such file, check the path')
    _check_host(cfg.get('default_scope'))
    use_safe_loading()
    _check_schedule(cfg)
    notes: list[str] = []
    if not load_from:
        check_accumulation(cfg)
        notes = _settle_precision(cfg)
    _check_images(cfg, ('test_dataloader',) if load_from else ('train_dataloader',))
    _compile_loss(cfg)
    prepare_launch(cfg)
    batch = batch or BatchRequest()
    settle_loaders(cfg, usable_cores() // count_neighbours() if batch.limit_workers else None)
    cfg.load_from = load_from or pretrained or cfg.get('load_from')
    began = None
    if resume:
        checkpoint = agree_on_resume(resume, cfg)
        cfg.resume, cfg.load_from = checkpoint is not None, checkpoint or cfg.load_from
        if checkpoint:
            began = read_batch(checkpoint, trusts_checkpoints(cfg))
            notes.append(keep_seed(cfg, checkpoint, trusts_checkpoints(cfg)))
    notes.append(choose_batch(cfg, batch, began))
    if not load_from:
        scale_for_accumulation(cfg)
    if cfg.load_from:
        _replace_weights(cfg, pretrained)
    if not load_from:
        _add_needed_hooks(cfg)
    is_flexible = 'runner_type' in cfg
    runner = RUNNERS.build(cfg) if is_flexible else Runner.from_cfg(cfg)
    if cfg.load_from:
        # Strategies that shard load in their own way.
        fit = not (cfg.get('resume') or is_flexible)
        runner.register_hook(StartingWeightsHook(cfg.load_from, fit, whole=bool(load_from)))
    for note in filter(None, notes):
        runner.logger.info(note)
    if not load_from and cfg.get('train_dataloader'):
        check_epoch(runner.train_dataloader)
    return runner


def _add_needed_hooks(cfg: Config) -> None:
    """Name the hooks that every run needs, where the config of a host or an older one does not."""
    scope = cfg.get('default_scope')
    given = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    missing = [
        dict(type=name)
        for name in _NEEDED_HOOKS
        if not any(builds(HOOKS, hook, HOOKS.get(name), scope) for hook in given)
    ]
    if missing:
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), *missing]


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


def _settle_precision(cfg: Config) -> list[str]:
    """Train in float32 where mmengine's mixed precision would fail on an assertion; say so."""
    wrapper: Any = cfg.get('optim_wrapper') or {}
    device = get_device()
    kind = wrapper.get('type', 'OptimWrapper')
    kind = kind if isinstance(kind, type) else OPTIM_WRAPPERS.get(kind)
    if device not in ('cpu', 'mps') or not kind or not issubclass(kind, AmpOptimWrapper):
        return []
    precision = wrapper.pop('dtype', None) or 'float16'
    wrapper.pop('loss_scale', None)
    wrapper.type = 'OptimWrapper'
    return [f'{precision} needs a GPU, and the device here is {device!r}: training in float32']


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
        parts = dataset.get('datasets') or [dataset]
        for transform in [step for part in parts for step in part.get('pipeline') or []]:
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
