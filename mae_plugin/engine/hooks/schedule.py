"""Learning-rate schedules that cannot be meant are refused before the first step."""

from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import LinearParamScheduler, _ParamScheduler
from mmengine.runner import Runner

from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Refuses a warm-up of one step, and to resume with a schedule that ends elsewhere.

    A linear warm-up reaches its end in its second step: with one alone the whole run has the
    learning rate of its start, a millionth. And mmengine restores the whole state of each
    scheduler, its end included, over what the config asks for: a longer run would go on at the
    old schedule's last learning rate, near zero.
    """

    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        """Look at the schedulers that were built, and at the batch.

        Raises:
            ValueError: A warm-up is over before it has left its start.
        """
        _warn_of_repeats(runner)
        _tell_scaling(runner)
        schedulers = runner.param_schedulers
        for index, scheduler in enumerate(schedulers if isinstance(schedulers, list) else []):
            if (
                isinstance(scheduler, LinearParamScheduler)
                and scheduler.end - scheduler.begin < 2
                and scheduler.start_factor != scheduler.end_factor
            ):
                unit = 'epoch' if scheduler.by_epoch else 'iteration'
                name = f'param_scheduler.{index}'
                raise ValueError(
                    f'{name}, a {type(scheduler).__name__} (warm-up), lasts one {unit}, and an '
                    f'epoch {len(runner.train_dataloader)} iterations: the learning rate would '
                    f'stay at {scheduler.start_factor:g} of its value. Lower '
                    'train_dataloader.batch_size, so that an epoch has more iterations, or leave '
                    f'the warm-up out with --cfg-options {name}.start_factor=1.0'
                )

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


def _warn_of_repeats(runner: Runner) -> None:
    """Warn when StreamSampler, whose batches are all full, takes more images than there are."""
    loader = runner.train_dataloader
    batch, images = getattr(loader.sampler, 'global_batch', 0), len(loader.dataset)
    if batch > images:
        runner.logger.warning(
            f'train_dataloader.batch_size={loader.batch_size} on {get_world_size()} processes '
            f'takes {batch} images a step, and the data set holds {images}, so that a step sees '
            f'some of them more than once (steps in an epoch: {len(loader)}); lower '
            'train_dataloader.batch_size'
        )


def _tell_scaling(runner: Runner) -> None:
    """Say what mmengine's line leaves open: it knows nothing of accumulated batches."""
    scaling = runner.cfg.get('auto_scale_lr') or {}
    counts = (runner.cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    batch, processes = runner.train_dataloader.batch_size, get_world_size()
    if not scaling.get('enable') or batch is None or counts == 1:
        return
    # build_runner divided it.
    base = scaling['base_batch_size'] * counts
    total = batch * processes * counts
    runner.logger.info(
        f'Learning rate: batch {batch} x {processes} processes x {counts} accumulated = '
        f'{total} images a step, written for {base:g}: scaled by {total / base:g}'
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
