"""A polite end: SIGTERM and SIGINT save a checkpoint before they stop the run."""

import atexit
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_comm_device, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop

from mae_plugin.engine.hooks.checkpoint import CheckpointHook
from mae_plugin.engine.loop import ResumableEpochLoop
from mae_plugin.errors import UserError
from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM or SIGINT: checkpoint at the end of the iteration, then exit with 128 + signal.

    Schedulers send SIGTERM before they take a node away; statuses 143 (SIGTERM) and 130 (SIGINT,
    Ctrl-C) say that the run wants to be queued again with ``--resume auto``. All processes agree
    on the iteration at which they leave. A second Ctrl-C stops at once. Data workers ignore both
    signals, which schedulers and terminals send to every process of a job: their death would end
    the run before its checkpoint.

    Args:
        signals (tuple[str]): The signals' names.
        lag (int, optional): Iterations after which several processes act on what they agreed.
            None is 0, or on an accelerator 4: the host is hardly ever so far ahead of the device
            that reading an answer of that age waits, and if it does, the device has work enough.
    """

    # After the CheckpointHook, whose file of the same iteration is then enough.
    priority = 'LOWEST'

    def __init__(
        self, signals: tuple[str, ...] = ('SIGTERM', 'SIGINT'), lag: int | None = None
    ) -> None:
        if lag is not None and lag < 0:
            raise UserError(f'lag={lag} must be at least 0')
        self.signals = [signal.Signals[name] for name in signals]
        self.lag = lag
        self._received = 0
        self._previous: dict[int, Any] = {}
        self._answers: deque[Callable[[], float]] = deque()

    def before_train(self, runner) -> None:
        """Catch the signals here, ignore them in the workers."""
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self._previous[number] = signal.signal(number, self._on_signal)
        else:
            runner.logger.warning(
                'this run is not in the main thread, where alone signals are caught: '
                f'{", ".join(number.name for number in self.signals)} saves no checkpoint'
            )
        atexit.register(_kill_workers)
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None and loop.dataloader.num_workers > 0:
                loop.dataloader.worker_init_fn = ShieldedInit(loop.dataloader.worker_init_fn)

    def after_train(self, runner) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Leave if any process was asked to."""
        self._leave_if_asked(runner, runner.iter + 1)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Leave in the middle of a validation, which the resumed run begins again."""
        # Processes may have different numbers of validation batches: several wait for training.
        if get_world_size() == 1 and self._received:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # has put the averaged weights in the model's place
                    hook.after_val_epoch(runner)
            self._leave_if_asked(runner, runner.iter)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number

    def _leave_if_asked(self, runner, iteration: int) -> None:
        number = self._agree() if get_world_size() > 1 else self._received
        if not number:
            return
        name = signal.Signals(number).name
        runner.logger.warning(f'{name}: saving a checkpoint of iteration {iteration} and leaving')
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                hook.save_now(runner, iteration, runner.epoch)
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop) and not isinstance(loop, ResumableEpochLoop):
            runner.logger.warning(
                f'{type(loop).__name__} will begin epoch {runner.epoch + 1} anew: '
                "train_cfg.type='mae_plugin.ResumableEpochLoop' goes on inside it"
            )
        # A process that left would make the launcher kill rank 0 while it writes.
        barrier()
        runner.logger.warning(f'{name}: leaving with status {128 + number}; use --resume auto')
        runner.visualizer.close()
        raise SystemExit(128 + number)

    def _agree(self) -> int:
        """The signal that any process had ``lag`` iterations ago, or zero.

        The lag is fixed, so that all processes read the same answer in the same iteration.
        """
        device = get_comm_device()
        on_host = device.type == 'cpu'
        asked = torch.full((), float(self._received), device=device)
        all_reduce(asked, op='max')
        self._answers.append(asked.item if on_host else _copied_to_host(asked))
        lag = self.lag if self.lag is not None else 0 if on_host else 4
        return int(self._answers.popleft()()) if len(self._answers) > lag else 0


def _copied_to_host(value: torch.Tensor) -> Callable[[], float]:
    """Begin to copy a number from the device; returns what waits for it and reads it."""
    host = torch.empty((), pin_memory=True).copy_(value, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def read() -> float:
        copied.synchronize()
        return host.item()

    return read


class ShieldedInit:
    """A ``worker_init_fn`` that first makes the worker ignore SIGTERM and SIGINT."""

    def __init__(self, inner: Callable[[int], Any] | None) -> None:
        self.inner = inner

    def __call__(self, worker: int) -> None:
        """Shield worker number ``worker``."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if self.inner is not None:
            self.inner(worker)


def _kill_workers() -> None:
    """At exit: Python would terminate hung workers, which ignore that, and wait for ever."""
    if hasattr(signal, 'SIGCHLD'):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
