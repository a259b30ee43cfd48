"""What a training step costs on a device, and the largest batch that it takes."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mae_plugin.engine.batch_fit import Bound, Cost, Fit, NoRoom, grow, shrink
from mae_plugin.engine.machine import usable_cores, used_memory
from mae_plugin.engine.probe_step import ProbeStep

# Seconds. Longer steps bring a CPU no more throughput, and hide whether the run goes well.
CPU_SECONDS = 5.0
# The least share of a step's time that is its own on a machine that others keep busy.
_OWN_TIME = 0.25
# Shares of the free memory that are left free: for validation, data workers, fragments, and
# batches that take more than those that were tried.
HOST_MARGIN = 0.25
DEVICE_MARGIN = 0.1


class HostMeter:
    """Steps on a CPU, where too much memory ends the process instead of raising.

    Memory is watched throughout, and a step is given up as soon as a module of the model begins
    beyond the limit.

    Args:
        free: Bytes that the process may still take; None where nothing tells.
    """

    def __init__(self, free: int | None) -> None:
        self.limit = float('inf') if free is None else free * (1 - HOST_MARGIN)
        self._before = used_memory() or 0

    @property
    def used(self) -> int:
        """int: Bytes taken since the meter's beginning."""
        return (used_memory() or 0) - self._before

    def search(self, step: ProbeStep, largest: int, reserve: bool) -> Fit | None:
        """The largest batch, from a step whose model is not built yet.

        Args:
            step: What to measure.
            largest: No more images than these.
            reserve: Leave room for another copy of the gradients, as processes that exchange
                them need.

        Returns:
            The fit; None if nothing has room.
        """
        with self._peak() as peak:
            try:
                return self._search(step, largest, reserve)
            except (RuntimeError, MemoryError):
                # On a CPU torch has no class of its own for this: what is used tells it apart.
                if max(peak(), self.used) > self.limit:
                    return None
                raise

    def _search(self, step: ProbeStep, largest: int, reserve: bool) -> Fit | None:
        step.build()
        weights = step.trainable_bytes
        self.limit -= weights * reserve
        # Gradients and two moments: too large an optimizer would end the process unasked.
        if self.used + 3 * weights > self.limit:
            return None
        for module in step.model.modules():
            module.register_forward_pre_hook(self._check)
        step.fill_optimizer()

        # On a CPU a step of a large model takes a minute: the way back is reckoned, not run. It
        # takes twice the time, of what is trained, and brings the gradients.
        factor = 1 + 2 * step.trainable_share

        def measure(size: int) -> Cost:
            cost = self.measure(step.forward, size)
            return Cost(cost.memory + weights, factor * cost.seconds)

        smallest = min(step.smallest, largest)
        fixed = self.used + weights
        return grow(measure, smallest, largest, self.limit, CPU_SECONDS, fixed)

    def measure(self, step: Callable[[int], None], size: int) -> Cost:
        """Run a step, or a part of one.

        Raises:
            NoRoom: A module of it began beyond the limit.
        """
        began, busy = time.perf_counter(), time.process_time()
        with self._peak() as peak:
            step(size)
        # A batch is for the whole run, and others may be done soon: what counts is the time that
        # the step's threads compute, as far as it shows that they wait for others.
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
        alone = max(busy / torch.get_num_threads(), _OWN_TIME * seconds)
        return Cost(peak(), min(seconds, alone))

    def describe(self, bound: Bound, cost: Cost) -> str:
        """Why a batch is as it is, and what its step took."""
        used = '' if self.limit == float('inf') else f', {_of(cost.memory, self.limit)}'
        cores = f'{usable_cores()} cores'
        if bound is Bound.TIME:
            return f'more take over {CPU_SECONDS:.0f} s an iteration on {cores}{used}'
        if bound is Bound.MEMORY:
            return f'more do not fit{used}'
        return f'it fits: {cost.seconds:.1f} s an iteration on {cores}{used}'

    def _check(self, module: nn.Module, inputs: object) -> None:
        if self.used > self.limit:
            raise NoRoom

    @contextmanager
    def _peak(self) -> Iterator[Callable[[], int]]:
        """Look a few hundred times a second; what counts lasts longer."""
        most, done = self.used, threading.Event()

        def look() -> None:
            nonlocal most
            while not done.wait(0.003):
                most = max(most, self.used)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield lambda: most
        finally:
            done.set()
            thread.join()
            most = max(most, self.used)


class DeviceMeter:
    """Steps on an accelerator, whose allocator raises where there is no room.

    Args:
        kind: 'cuda', whose memory is measured too, or another kind, whose is not.
    """

    def __init__(self, kind: str) -> None:
        self._is_cuda = kind == 'cuda'
        self.limit = float('inf')
        if self._is_cuda:
            free, _ = torch.cuda.mem_get_info()
            self.limit = (free + torch.cuda.memory_reserved()) * (1 - DEVICE_MARGIN)

    def search(self, step: ProbeStep, largest: int, reserve: bool) -> Fit | None:
        """As :meth:`HostMeter.search`."""
        try:
            step.build()
            self.limit -= step.trainable_bytes * reserve
            step.fill_optimizer()
        except torch.cuda.OutOfMemoryError:
            return None

        def measure(size: int) -> Cost:
            return self.measure(step, size)

        return shrink(measure, min(step.smallest, largest), largest)

    def measure(self, step: Callable[[int], None], size: int) -> Cost:
        """Run a step twice: the first chooses kernels.

        Raises:
            NoRoom: There was no memory for it, or less was left than the margin.
        """
        if self._is_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        full, seconds = False, 0.0
        try:
            for _ in range(2):
                began = time.perf_counter()
                step(size)
                if self._is_cuda:
                    torch.cuda.synchronize()
                seconds = time.perf_counter() - began
        except torch.cuda.OutOfMemoryError:
            full = True  # after this block the traceback, which holds the tensors, is gone
        peak = torch.cuda.max_memory_reserved() if self._is_cuda else 0
        if full or peak > self.limit:
            gc.collect()
            raise NoRoom
        return Cost(peak, seconds)

    def describe(self, bound: Bound, cost: Cost) -> str:
        """As :meth:`HostMeter.describe`."""
        used = f', {_of(cost.memory, self.limit)}' if self._is_cuda else ''
        if bound is Bound.MEMORY:
            return f'more do not fit{used}'
        return f'it fits{used}'


def _of(used: float, limit: float) -> str:
    return f'{used / 2**30:.1f} of {limit / 2**30:.1f} GiB'
