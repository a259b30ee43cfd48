"""What a run changes in its config before it is built: hooks, wrappers, weights."""

from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from mae_plugin.engine.hooks import NonFiniteGuard
from mae_plugin.models.lora import LoRA
from mae_plugin.models.mae import MAE
from mae_plugin.registry import HOOKS, MODELS, OPTIM_WRAPPERS, builds, find_type

# What tells a run that would mislead; the runtimes of our configs name them.
_NEEDED_HOOKS = (
    'mae_plugin.ScheduleHook',
    'mae_plugin.ResumeHook',
    'mae_plugin.BatchHook',
    'mae_plugin.ProgressHook',
)


def add_needed_hooks(cfg: Config) -> None:
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


def guard_steps(cfg: Config) -> None:
    """Give an older or a host's config with ``NonFiniteGuard`` a wrapper that skips steps."""
    scope, wrapper = cfg.get('default_scope'), cfg.get('optim_wrapper')
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    if not wrapper or not any(builds(HOOKS, hook, NonFiniteGuard, scope) for hook in hooks):
        return
    kind = find_type(OPTIM_WRAPPERS, wrapper.get('type', 'OptimWrapper'), scope)
    if kind is OptimWrapper:
        wrapper.type = 'mae_plugin.OptimWrapper'
    elif kind is AmpOptimWrapper:
        wrapper.type = 'mae_plugin.AmpOptimWrapper'


def settle_precision(cfg: Config) -> str:
    """Train in float32 where mmengine's mixed precision would fail on an assertion.

    Returns:
        What there is to tell about it, if anything.
    """
    wrapper: Any = cfg.get('optim_wrapper') or {}
    device = get_device()
    scope = cfg.get('default_scope')
    if device not in ('cpu', 'mps') or not builds(OPTIM_WRAPPERS, wrapper, AmpOptimWrapper, scope):
        return ''
    precision = wrapper.pop('dtype', None) or 'float16'
    wrapper.pop('loss_scale', None)
    wrapper.type = 'mae_plugin.OptimWrapper'
    return f'{precision} needs a GPU, and the device here is {device!r}: training in float32'


def compile_loss(cfg: Config) -> None:
    """Hand the switch ``compile`` to a model that has its own.

    mmengine would compile the whole train step: it breaks into several graphs, and is compiled
    again whenever the learning rate changes.
    """
    if cfg.get('compile') and builds(MODELS, cfg.model, MAE, cfg.get('default_scope')):
        cfg.model.compile = cfg.pop('compile')


def replace_weights(cfg: Config, pretrained: str | None) -> None:
    """Do not fetch the encoder that the config names when another file is loaded over it.

    An ``init_cfg`` that says how to load its file (BEiT's does) loads the other one in that way.
    """
    backbone = cfg.model.get('backbone')
    if builds(MODELS, backbone or {}, LoRA, cfg.get('default_scope')):
        # What it freezes is never in a checkpoint of the run, and always comes from this file.
        if pretrained:
            backbone.module.init_cfg = dict(type='Pretrained', checkpoint=pretrained)
            cfg.load_from = None
        return
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
