"""Batches of one epoch from a DataLoader, whatever becomes of its workers."""

import contextlib
import logging
import signal
import threading
from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from mae_plugin.compat import is_worker_failure, stop_workers
from mae_plugin.engine.rng_state import get_rng_state, set_rng_state
from mae_plugin.logs import log

# Seconds without a batch after which workers count as hung, and restarts before giving up. All
# of them together must take less than processes wait for each other: see engine/launch.py.
TIMEOUT = 180.0
RESTARTS = 3


class BatchFeed:
    """Iterates a DataLoader from any batch of an epoch, replacing dead and hung workers.

    What a sample looks like depends on ``(seed, pass, index)`` alone, so starting the workers
    again at the batch that failed changes nothing in the run. A worker's death is noticed at
    once, but only ever raised between two steps: torch's own handler raises wherever the main
    process happens to be, half an optimizer step included.

    Args:
        loader (DataLoader): Its sampler has ``set_position`` (StreamSampler); with other samplers
            the batches before ``first`` are loaded and thrown away.
        seed (int): Seed of the run; the workers' base seed follows from it and the epoch, so that
            starting workers does not advance torch's generator.
        timeout (float): Seconds without a batch after which the workers count as hung.
        max_failures (int): Restarts in a row, without one batch in between, before giving up.
    """

    def __init__(
        self,
        loader: DataLoader,
        seed: int,
        timeout: float = TIMEOUT,
        max_failures: int = RESTARTS,
    ) -> None:
        self.loader = loader
        self.seed = seed
        self.max_failures = max_failures
        self._fetching = False
        self._child_died = False
        if loader.num_workers > 0 and loader.timeout == 0:
            loader.timeout = timeout

    def batches(self, epoch: int, first: int = 0) -> Generator[tuple[int, Any], None, None]:
        """Yield ``(index in the epoch, batch)`` from batch ``first`` on.

        Raises:
            RuntimeError: If the workers failed more than ``max_failures`` times in a row; names
                the files that they were on.
        """
        index, failures = first, 0
        while index < len(self.loader):
            iterator = None
            try:
                iterator = self._start(epoch, index)
                while index < len(self.loader):
                    with self._watching():
                        batch = next(iterator)
                    yield index, batch
                    index, failures = index + 1, 0
            except RuntimeError as error:
                if not is_worker_failure(error):
                    raise
                failures += 1
                report = self._report(error)
                self._stop(iterator)
                if failures > self.max_failures:
                    raise RuntimeError(
                        f'{report}\nThe workers failed {failures} times in a row on batch '
                        f'{index} of epoch {epoch + 1}: mend or remove the files named above, '
                        'or use fewer workers if memory ran out; then run again with --resume auto'
                    ) from error
                log(
                    f'{report}\nStarting the workers again at batch {index} '
                    f'(attempt {failures} of {self.max_failures})',
                    level=logging.WARNING,
                )
            except BaseException:
                self._stop(iterator)
                raise

    def close(self) -> None:
        """End workers that persist between epochs; left to Python that takes 5 s for each."""
        stop_workers(self.loader)

    def _start(self, epoch: int, index: int) -> Iterator[Any]:
        loader = self.loader
        loader.generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        sampler: Any = loader.sampler
        skip = 0
        if hasattr(sampler, 'set_position'):
            sampler.set_position((epoch * len(loader) + index) * sampler.global_batch)
        elif index:
            skip = index
            log(
                f'{type(sampler).__name__} cannot start inside an epoch: loading and dropping '
                f'{index} batches; StreamSampler starts at once',
                level=logging.WARNING,
            )
        iterator = iter(loader)
        self._defer_child_signal()
        if skip:
            # Without workers the dropped samples draw from this process's generators.
            state = get_rng_state()
            for _ in range(skip):
                next(iterator)
            set_rng_state(state)
        return iterator

    def _defer_child_signal(self) -> None:
        """Let torch's SIGCHLD handler raise while a batch is awaited, and only then."""
        if not hasattr(signal, 'SIGCHLD'):
            return  # Windows, where torch asks each worker's process while it waits for a batch
        if threading.current_thread() is not threading.main_thread():
            return
        raising = signal.getsignal(signal.SIGCHLD)
        if not callable(raising) or getattr(raising, 'deferred_by', None) is self:
            return
        raising = getattr(raising, 'raising', raising)

        def handler(number: int, frame: Any) -> None:
            if self._fetching:
                raising(number, frame)
            else:
                self._child_died = True

        handler.deferred_by = self  # type: ignore[attr-defined]
        handler.raising = raising  # type: ignore[attr-defined]
        signal.signal(signal.SIGCHLD, handler)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        self._fetching = True
        try:
            if self._child_died:
                self._child_died = False
                handler = signal.getsignal(signal.SIGCHLD)
                if callable(handler):
                    handler(signal.SIGCHLD, None)
            yield
        finally:
            self._fetching = False

    def _report(self, error: RuntimeError) -> str:
        lines = [str(error).strip()]
        describe = getattr(self.loader.dataset, 'worker_files', None)
        files = describe() if describe else {}
        lines += [f'  worker {worker} was on {path}' for worker, path in sorted(files.items())]
        return '\n'.join(lines)

    def _stop(self, iterator: Any) -> None:
        """Kill the workers behind ``iterator``; one that hangs in C ignores anything less."""
        stop_workers(self.loader, iterator, kill=True)
        self._child_died = False
