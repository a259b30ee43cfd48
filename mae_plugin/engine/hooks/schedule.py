"""Learning-rate schedules that cannot be meant are refused before the first step."""

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import BaseOptimWrapper, LinearParamScheduler, OptimWrapperDict
from mmengine.runner import Runner

from mae_plugin.errors import UserError
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Refuses a warm-up of one step, and shows the learning rate that is used.

    A linear warm-up reaches its end in its second step: with one alone the whole run has the
    learning rate of its start, a millionth.

    What mmengine logs as ``base_lr`` belongs to no parameter, and ``auto_scale_lr`` leaves it
    unscaled. Here it follows the parameter group of the highest learning rate, with layer decay
    the head's; ``lr`` is the first group's.
    """

    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        """Look at the schedulers that were built, and at the batch.

        Raises:
            UserError: A warm-up is over before it has left its start.
        """
        _warn_of_repeats(runner)
        _tell_scaling(runner)
        _follow_the_highest(runner)
        schedulers = runner.param_schedulers
        for index, scheduler in enumerate(schedulers if isinstance(schedulers, list) else []):
            if (
                isinstance(scheduler, LinearParamScheduler)
                and scheduler.end - scheduler.begin < 2
                and scheduler.start_factor != scheduler.end_factor
            ):
                unit = 'epoch' if scheduler.by_epoch else 'iteration'
                name = f'param_scheduler.{index}'
                raise UserError(
                    f'{name}, a {type(scheduler).__name__} (warm-up), lasts one {unit}, and an '
                    f'epoch {len(runner.train_dataloader)} iterations: the learning rate would '
                    f'stay at {scheduler.start_factor:g} of its value. Lower '
                    'train_dataloader.batch_size, so that an epoch has more iterations, or leave '
                    f'the warm-up out with --cfg-options {name}.start_factor=1.0'
                )


def _warn_of_repeats(runner: Runner) -> None:
    """Warn when StreamSampler, whose batches are all full, takes more images than there are."""
    loader = runner.train_dataloader
    batch = getattr(loader.sampler, 'global_batch', 0)
    images = getattr(loader.sampler, 'pass_size', len(loader.dataset))
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


def _follow_the_highest(runner: Runner) -> None:
    """Let the rate that mmengine logs as ``base_lr`` be that of the highest group, for good."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):
        schedulers = [scheduler for part in schedulers.values() for scheduler in part]
    for each in wrappers:
        if not isinstance(each, BaseOptimWrapper) or each.base_param_settings is None:
            continue
        groups = each.optimizer.param_groups
        rates = [group.get('initial_lr', group['lr']) for group in groups]
        highest = rates.index(max(rates))
        shown = {
            key: groups[highest][key] for key in ('lr', 'initial_lr') if key in groups[highest]
        }
        each.base_param_settings.update(shown)
        for scheduler in schedulers:
            values = getattr(scheduler, 'base_values', None)
            if scheduler.optimizer is each and scheduler.param_name == 'lr' and values:
                values[len(groups) :] = [values[highest]]
