"""Steps of the optimizer that add up the gradients of several iterations."""

from typing import Any

from mmengine.config import Config

from mae_plugin.errors import UserError

# What in a config counts iterations.
_OF_LOOP = ('max_iters', 'val_begin', 'val_interval', 'dynamic_intervals')
_OF_SCHEDULER = (
    'begin', 'end', 'T_max', 'milestones', 'step_size', 'periods', 'total_steps', 'warmup_steps',
)  # fmt: skip
_OF_CHECKPOINTS = ('interval', 'save_begin')
# Iterations between two validations, where the config leaves it to mmengine's loop.
_VAL_INTERVAL = 1000


def accumulate(cfg: Config, counts: int) -> None:
    """Make a step of the optimizer of ``counts`` iterations.

    What counts iterations (length, schedulers, validation, checkpoints) is lengthened, so that it
    counts as many steps as before; what counts epochs stays.

    Args:
        cfg: Config, changed in place.
        counts: Iterations to a step.

    Raises:
        UserError: The config makes steps of several iterations already, and not so many.
    """
    wrapper: Any = cfg.optim_wrapper
    present = wrapper.get('accumulative_counts', 1)
    if present not in (1, counts):
        raise UserError(
            f'--accumulate {counts}, but the config has accumulative_counts={present}: leave one '
            'of them out'
        )
    wrapper.accumulative_counts = counts
    loop: Any = cfg.get('train_cfg') or {}
    if 'max_iters' not in loop or counts == present:
        return
    if cfg.get('val_cfg'):
        loop.setdefault('val_interval', _VAL_INTERVAL)
    _lengthen(loop, _OF_LOOP, counts)
    for scheduler in schedulers_of(cfg):
        if not scheduler.get('by_epoch', True):
            _lengthen(scheduler, _OF_SCHEDULER, counts)
    checkpoints: Any = (cfg.get('default_hooks') or {}).get('checkpoint')
    if checkpoints and not checkpoints.get('by_epoch', True):
        _lengthen(checkpoints, _OF_CHECKPOINTS, counts)


def scale_for_accumulation(cfg: Config) -> None:
    """Let the learning rate follow the true global batch when gradients are accumulated.

    mmengine scales by batch size and processes alone; here ``accumulative_counts`` counts too.
    """
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    scaling = cfg.get('auto_scale_lr')
    if counts > 1 and scaling and scaling.get('enable'):
        scaling.base_batch_size = scaling.base_batch_size / counts


def check_accumulation(cfg: Config) -> None:
    """Refuse a number of accumulated batches that mmengine would fail on with an assertion."""
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    if not isinstance(counts, int) or counts < 1:
        raise UserError(
            f'optim_wrapper.accumulative_counts={counts} must be a whole number of batches, 1 '
            'or more; 1 makes a step of each'
        )


def schedulers_of(cfg: Config) -> list[Any]:
    """The configs of a run's schedulers: there may be one, a list, or lists by optimizer."""
    return _schedulers(cfg.get('param_scheduler'))


def _schedulers(config: Any) -> list[Any]:
    if config is None:
        return []
    if isinstance(config, (list, tuple)):
        return list(config)
    if 'type' in config:
        return [config]
    return [scheduler for part in config.values() for scheduler in _schedulers(part)]


def _lengthen(config: Any, names: tuple[str, ...], factor: int) -> None:
    for name in names:
        if name in config:
            config[name] = _times(config[name], factor)


def _times(value: Any, factor: int) -> Any:
    if isinstance(value, (list, tuple)):
        return [_times(part, factor) for part in value]
    is_endless = not isinstance(value, int) or value < 0 or value >= int(1e9)
    return value if is_endless else value * factor
