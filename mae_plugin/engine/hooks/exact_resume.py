"""What mmengine's checkpoints leave out, so that a resumed run equals an uninterrupted one."""

import logging
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel

from mae_plugin.engine.rng_state import get_rng_state, set_rng_state
from mae_plugin.errors import UserError
from mae_plugin.logs import log
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Adds to every checkpoint what the rest of the run depends on, and restores it.

    - the random state of every process (torch, its GPU, numpy, Python);
    - the gradients of a gradient accumulation that was not finished;
    - the message hub, so that smoothed log values go on, as tensors and plain types: the file
      then opens with ``torch.load(weights_only=True)`` and no allow-list.

    Restoring happens at the point of the loop where the checkpoint was taken: in ``after_resume``,
    which ``ResumableEpochLoop`` calls, or before the first iteration with other loops. State of
    other processes is gathered in ``before_checkpoint``, which our ``CheckpointHook`` calls on
    every rank; mmengine saves on rank 0 alone.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._gathered: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None

    def before_train(self, runner) -> None:
        """Compare the position of all processes, as far as they loaded one.

        Raises:
            UserError: They differ: a path is not the same file on every machine.
        """
        positions = all_gather_object((runner.iter, runner.epoch))
        if len(set(positions)) > 1:
            raise UserError(
                f'the processes start at different (iteration, epoch), by rank: {positions}. '
                'Their checkpoints differ: put the work dir on a disk that all machines share'
            )

    def before_checkpoint(self, runner) -> None:
        """Gather on all ranks what only rank 0 will write."""
        self._gathered = dict(
            rng_states=all_gather_object(get_rng_state()),
            accumulated_grads=_accumulated_grads(runner.model),
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the gathered state; make the message hub plain."""
        state = self._gathered or dict(rng_states=[get_rng_state()], accumulated_grads={})
        self._gathered = None
        checkpoint['exact_resume'] = state
        hub = checkpoint['message_hub']
        hub['log_scalars'] = {
            key: _history_to_plain(value) for key, value in hub['log_scalars'].items()
        }
        hub['runtime_info'] = {
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in hub['runtime_info'].items()
        }

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the state until the loop is where it was taken; give mmengine its buffers."""
        self._loaded = checkpoint.get('exact_resume')
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for key, value in scalars.items():
            if isinstance(value, dict):
                scalars[key] = _history_from_plain(value)

    def after_resume(self, runner) -> None:
        """Restore what the checkpoint of a resumed run holds."""
        state, self._loaded = self._loaded, None
        if state is None:
            return
        named = dict(_plain_model(runner.model).named_parameters())
        for name, grad in state['accumulated_grads'].items():
            named[name].grad = grad.to(named[name].device)
        states, rank = state['rng_states'], get_rank()
        if rank < len(states):
            set_rng_state(states[rank])
        else:
            log(
                f'the checkpoint holds the random state of {len(states)} processes, this is '
                f'number {rank + 1}: its dropout and drop path start from the seed',
                level=logging.WARNING,
            )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Restore under a loop that does not call :meth:`after_resume`."""
        if self._loaded is not None:
            if runner.iter > 0:
                self.after_resume(runner)
            self._loaded = None


def _plain_model(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if is_model_wrapper(model) else model


def _accumulated_grads(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Gradients left by iterations that made no step yet: their mean over the ranks.

    Ranks average their gradients when the step comes, and the mean of a mean is the mean, so that
    every rank may go on from it.
    """
    grads: dict[str, torch.Tensor] = {}
    if isinstance(model, FullyShardedDataParallel):
        return grads  # shards of no parameter's shape; mmengine warns when it resumes there
    for name, parameter in _plain_model(model).named_parameters():
        if parameter.grad is not None:
            grad = parameter.grad.detach().clone()
            if get_world_size() > 1:
                all_reduce(grad, op='mean')
            grads[name] = grad.cpu()
    return grads


def _history_to_plain(history: HistoryBuffer) -> dict[str, Any]:
    values, counts = history.data
    return dict(
        values=torch.from_numpy(values.copy()),
        counts=torch.from_numpy(counts.copy()),
        max_length=history.max_length,
    )


def _history_from_plain(plain: dict[str, Any]) -> HistoryBuffer:
    values, counts = plain['values'].cpu().numpy(), plain['counts'].cpu().numpy()
    return HistoryBuffer(values, counts, plain['max_length'])
