"""A hook that notes every wait for the GPU, and forbids compiling again, once a run is warm."""

from __future__ import annotations

import json
import os
import signal
import warnings
from pathlib import Path

import torch
from mmengine.hooks import Hook


class WatchHook(Hook):
    """Watches all iterations but those that log, which read values and may wait for them.

    torch warns of each wait. Every warning of a watched iteration is kept, with the line that
    caused it, whatever it says: none is expected. ``watch.json`` in the work dir then says how
    many iterations were watched, the warnings, and all losses.

    Args:
        warmup: Iterations before watching begins, in which kernels are chosen and compiled.
        compiled: Whether to fail where something is compiled again.
        stop_after: Send SIGTERM to the run after so many iterations, as a scheduler does.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self, warmup: int = 3, compiled: bool = False, stop_after: int | None = None
    ) -> None:
        self.warmup = warmup
        self.compiled = compiled
        self.stop_after = stop_after
        self.watched = 0
        self.warnings: dict[str, int] = {}
        self._recorder: warnings.catch_warnings | None = None
        self._recorded: list[warnings.WarningMessage] = []

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Watch this iteration, its hooks, and the fetching of the next batch."""
        self._end_watching()
        if self.compiled and runner.iter == self.warmup:
            torch.compiler.set_stance('fail_on_recompile')
        if runner.iter >= self.warmup and not self.end_of_epoch(
            runner.train_dataloader, batch_idx
        ):
            self.watched += 1
            self._recorder = warnings.catch_warnings(record=True)
            self._recorded = self._recorder.__enter__() or []
            warnings.simplefilter('always')
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode('warn')

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Interrupt the run, if that was asked for."""
        if runner.iter + 1 == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    def after_train(self, runner) -> None:
        """Write what was seen."""
        self._end_watching()
        history, _ = runner.message_hub.get_scalar('train/loss').data
        content = dict(
            watched=self.watched,
            warnings=self.warnings,
            losses=[float(loss) for loss in history],
        )
        Path(runner.work_dir, 'watch.json').write_text(json.dumps(content))

    def _end_watching(self) -> None:
        if self._recorder is None:
            return
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode('default')
        self._recorder.__exit__(None, None, None)
        self._recorder = None
        for entry in self._recorded:
            place = '/'.join(Path(entry.filename).parts[-2:])
            key = f'{place}:{entry.lineno}: {str(entry.message).splitlines()[0]}'
            self.warnings[key] = self.warnings.get(key, 0) + 1
