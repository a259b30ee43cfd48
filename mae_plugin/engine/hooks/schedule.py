"""Learning-rate schedules that cannot be meant are refused before the first step."""

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner

from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Refuses to resume with a schedule that ends elsewhere.

    mmengine restores the whole state of each scheduler, its end included, over what the config
    asks for: a longer run would go on at the old schedule's last learning rate, near zero.
    """

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the schedulers of the run with those that are about to be restored.

        Raises:
            ValueError: One begins or ends elsewhere.
        """
        if not runner._resume:
            return
        length = len(runner.train_dataloader)
        hub = checkpoint.get('message_hub') or {}
        if (hub.get('runtime_info') or {}).get('epoch_length', length) != length:
            return  # ResumableEpochLoop refuses other data and batches, and names them.
        for own, stored in _pairs(runner.param_schedulers, checkpoint.get('param_schedulers')):
            for name in ('begin', 'end'):
                now, then = getattr(own, name), stored.get(name)
                if then not in (None, now):
                    unit = 0 if own.by_epoch else length
                    raise ValueError(
                        f'--resume: {type(own).__name__} of the learning rate {name}s '
                        f'{_place(now, unit)} in this run and {_place(then, unit)} in the '
                        'checkpoint, whose schedule would be restored: keep '
                        'train_cfg.max_epochs (max_iters), param_scheduler and batch size x '
                        'processes as they were, or start a new run from its weights with '
                        '--pretrained CHECKPOINT'
                    )


def _pairs(own: Any, stored: Any) -> Iterator[tuple[_ParamScheduler, dict]]:
    """Schedulers and the states for them: lists, or dicts of lists for several optimizers."""
    if isinstance(own, dict) and isinstance(stored, dict):
        for name in own.keys() & stored.keys():
            yield from _pairs(own[name], stored[name])
    elif isinstance(own, list) and isinstance(stored, list):
        for scheduler, state in zip(own, stored):
            if isinstance(scheduler, _ParamScheduler):
                yield scheduler, state


def _place(step: int, length: int) -> str:
    """A step in words, of schedules by iteration with its epoch where it is the end of one."""
    if not length:
        return f'at epoch {step}'
    epoch = '' if step % length else f' (epoch {step // length})'
    return f'at iteration {step}{epoch}'
