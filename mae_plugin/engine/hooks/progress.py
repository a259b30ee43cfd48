"""Lines of progress where iterations take so long that the logger's are far apart."""

import time
from datetime import timedelta

from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner

from mae_plugin.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Logs a line when the logger has been silent for a while; nothing is stored or charted.

    The logger counts iterations: at seconds each, a hundred of them leave a new run silent for
    many minutes. The silences allowed grow, so that a long run's log stays short.

    Args:
        patience: Seconds of silence before the first line; doubled by each, up to ``most``.
        most: Seconds of silence in the long run.
    """

    priority = 'LOWEST'

    def __init__(self, patience: float = 20, most: float = 600) -> None:
        self.patience = patience
        self.most = most
        self._began = self._told = 0.0
        self._first = 0

    def before_train(self, runner: Runner) -> None:
        """Start the clock."""
        self._began = self._told = time.monotonic()
        self._first = runner.iter

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Log a line if it is time."""
        now = time.monotonic()
        if self._logger_speaks(runner, batch_idx):
            self._told = now
        elif now - self._told >= self.patience:
            self._told, self.patience = now, min(2 * self.patience, self.most)
            done = runner.iter + 1
            seconds = (now - self._began) / (done - self._first)
            left = timedelta(seconds=round(seconds * (runner.max_iters - done)))
            loss = (outputs or {}).get('loss')
            loss = '' if loss is None else f'loss {float(loss):.4f}, '
            runner.logger.info(
                f'Iteration {done} of {runner.max_iters}: {loss}{seconds:.3g} s each, {left} left'
            )

    def _logger_speaks(self, runner: Runner, batch_idx: int) -> bool:
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        return any(self.every_n_inner_iters(batch_idx, interval) for interval in intervals)
