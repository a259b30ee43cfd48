"""A NaN must not reach the weights, and must not go unnoticed."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook, LoggerHook
from mmengine.optim import AmpOptimWrapper, OptimWrapperDict
from torch import Tensor

from mae_plugin.engine.optim_wrappers import SkipNonFiniteMixin
from mae_plugin.engine.zero import DeepSpeedOptimWrapper
from mae_plugin.errors import UserError
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class NonFiniteGuard(Hook):
    """Counts and tells the steps that were skipped as not finite, and stops a run of them.

    The optimizer wrapper skips them: ``mae_plugin.OptimWrapper``, ``AmpOptimWrapper``,
    ``BFloat16OptimWrapper`` and ``DeepSpeedOptimWrapper`` do, and any that has
    :class:`~mae_plugin.engine.optim_wrappers.SkipNonFiniteMixin`. Of mmengine's own
    ``AmpOptimWrapper``, whose gradient scaler skips without telling, losses alone are looked at.

    A skipped loss is told in its own line instead of turning the smoothed log values into NaN, and
    the batch's image paths are appended to ``non_finite_rank<r>.txt`` in the work dir. The counts
    are kept in checkpoints.

    Reading a value waits for the accelerator, which then idles until the next iteration reaches
    it. So there the log values and the verdicts of all iterations are read together when the
    logger logs, at an epoch's end and before a checkpoint; a run of NaNs stops that much later,
    with the weights as before it (with a fused optimizer).

    Args:
        max_in_row (int): Stop the run after this many skipped steps in a row.
        every_iteration (bool, optional): Read in every iteration; None does on a CPU alone.
    """

    priority = 'HIGHEST'

    def __init__(self, max_in_row: int = 10, every_iteration: bool | None = None) -> None:
        if max_in_row < 1:
            raise UserError(f'max_in_row={max_in_row} must be at least 1')
        self.max_in_row = max_in_row
        self.every_iteration = every_iteration
        self._wrappers: list[SkipNonFiniteMixin | DeepSpeedOptimWrapper] = []
        self._unread: list[_Iteration] = []
        self._paths: list[str] = []

    def before_train(self, runner) -> None:
        """Find the optimizer wrapper, or each of several.

        Raises:
            UserError: One of them skips nothing.
        """
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        self._wrappers = []
        for each in wrappers:
            if isinstance(each, SkipNonFiniteMixin | DeepSpeedOptimWrapper):
                self._wrappers.append(each)
            elif isinstance(each, AmpOptimWrapper):
                runner.logger.warning(
                    'the gradient scaler of AmpOptimWrapper skips steps that are not finite, and '
                    'NonFiniteGuard counts those of a loss alone: '
                    "optim_wrapper.type='mae_plugin.AmpOptimWrapper' tells all"
                )
            else:
                raise UserError(
                    f'NonFiniteGuard: {type(each).__name__} would make steps that are not finite. '
                    "Set optim_wrapper.type to 'mae_plugin.OptimWrapper', "
                    "'mae_plugin.BFloat16OptimWrapper' or 'mae_plugin.AmpOptimWrapper', derive "
                    'yours from mae_plugin.engine.optim_wrappers.SkipNonFiniteMixin, or leave the '
                    'hook out'
                )

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Take the iteration's values; read and judge them if it is time.

        Raises:
            RuntimeError: ``max_in_row`` steps in a row were skipped.
        """
        outputs = {} if outputs is None else outputs
        bad = [wrapper.take_skipped() for wrapper in self._wrappers]
        latest = _Iteration(runner.iter + 1, dict(outputs), bad, image_paths(data_batch))
        self._unread.append(latest)
        outputs.clear()  # or mmengine would read them now
        if self._is_time_to_read(runner, batch_idx, latest):
            outputs.update(self._read(runner))

    def before_checkpoint(self, runner) -> None:
        """Let the checkpoint hold all values so far (our ``CheckpointHook`` calls this)."""
        _keep_log_values(runner, self._read(runner))

    def after_train(self, runner) -> None:
        """Judge what is left."""
        _keep_log_values(runner, self._read(runner))

    def _is_time_to_read(self, runner, batch_idx: int, latest: '_Iteration') -> bool:
        every_iteration = self.every_iteration
        if every_iteration is None:
            every_iteration = all(value.device.type == 'cpu' for value in latest.tensors())
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        return (
            every_iteration
            or any(self.every_n_inner_iters(batch_idx, interval) for interval in intervals)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
        )

    def _read(self, runner) -> dict[str, float]:
        """Judge the unread iterations; return the last one's finite log values.

        Those of the others go where mmengine's hook would have put them.
        """
        unread, self._unread = self._unread, []
        finite: dict[str, float] = {}
        for iteration in _on_host(unread):
            _keep_log_values(runner, finite)
            finite = {k: v for k, v in iteration.outputs.items() if math.isfinite(v)}
            self._judge(runner, iteration)
        return finite

    def _judge(self, runner, iteration: '_Iteration') -> None:
        self._paths += iteration.paths
        losses = {k: v for k, v in iteration.outputs.items() if not math.isfinite(v)}
        # Of a wrapper that tells nothing, losses are all there is to see.
        skipped = iteration.bad or [bool(losses)]
        if losses and None in skipped:
            runner.logger.warning(
                f'iteration {iteration.number}: {losses} while accumulating gradients'
            )
        if all(flag is None for flag in skipped):
            return
        paths, self._paths = self._paths, []
        hub = runner.message_hub
        if not any(skipped):
            if hub.get_info('skipped_in_row'):
                hub.update_info('skipped_in_row', 0)
            return
        in_row = (hub.get_info('skipped_in_row') or 0) + 1
        total = (hub.get_info('skipped_steps') or 0) + 1
        hub.update_info_dict(dict(skipped_in_row=in_row, skipped_steps=total))
        record = Path(runner.work_dir) / f'non_finite_rank{get_rank()}.txt'
        with record.open('a', encoding='utf-8', errors='surrogateescape') as file:
            file.write('\t'.join([f'iteration {iteration.number}', *paths]) + '\n')
        what = f'loss is {losses}' if losses else 'a gradient is not finite'
        runner.logger.warning(
            f'iteration {iteration.number}: {what}; step skipped ({in_row} in a row, {total} in '
            f'all), images in {record}'
        )
        if in_row >= self.max_in_row:
            raise RuntimeError(
                f'{in_row} steps in a row had a non-finite loss or gradient; the weights are as '
                f'before them. Look at the images in {record}, lower the learning rate or use '
                'bfloat16 or float32 instead of float16; then run again with --resume auto'
            )


@dataclass
class _Iteration:
    """What one iteration left behind: on the device, or read.

    Attributes:
        number: The iteration, counted from one.
        outputs: Its log values.
        bad: For each optimizer wrapper whether its step was skipped; None if none was due.
        paths: Its images.
    """

    number: int
    outputs: dict[str, Any]
    bad: list[Any]
    paths: list[str]

    def tensors(self) -> list[Tensor]:
        """The values that are on a device."""
        return [v for v in (*self.outputs.values(), *self.bad) if isinstance(v, Tensor)]


def _keep_log_values(runner, values: dict[str, float]) -> None:
    for key, value in values.items():
        runner.message_hub.update_scalar(f'train/{key}', value)


def _on_host(iterations: list[_Iteration]) -> list[_Iteration]:
    """The same with numbers for tensors, all read at once."""
    tensors = [tensor for iteration in iterations for tensor in iteration.tensors()]
    if not tensors:
        return iterations
    device = tensors[0].device
    scalars = [tensor.detach().to(device, torch.float32).reshape(()) for tensor in tensors]
    numbers = iter(torch.stack(scalars).tolist())

    def number(value: Any) -> Any:
        return next(numbers) if isinstance(value, Tensor) else value

    return [
        replace(
            iteration,
            outputs={key: number(value) for key, value in iteration.outputs.items()},
            bad=[number(value) for value in iteration.bad],
        )
        for iteration in iterations
    ]


def image_paths(data_batch: Any) -> list[str]:
    """The ``img_path`` of every sample of a batch, as far as they say."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    paths = [getattr(sample, 'img_path', None) for sample in samples or ()]
    return [str(path) for path in paths if path is not None]
