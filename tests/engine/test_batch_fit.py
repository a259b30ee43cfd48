"""The search for a batch, on devices that only the tests have; and what measures real steps."""

import mmap
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mae_plugin.engine.batch_fit import Bound, Cost, NoRoom, grow, shrink
from mae_plugin.engine.meters import DeviceMeter, HostMeter


class Device:
    """Memory and time that grow with the batch, and an end: as of a GPU or of a killed process."""

    def __init__(self, fixed, image, room, overhead=0.0, seconds=0.01):
        self.fixed, self.image, self.room = fixed, image, room
        self.overhead, self.seconds = overhead, seconds
        self.tried, self.is_dead = [], False

    def measure(self, size):
        """A step as a GPU takes it."""
        self.tried.append(size)
        memory = self.fixed + self.image * size
        if memory > self.room:
            raise NoRoom
        return Cost(memory, self.overhead + self.seconds * size)

    def measure_or_die(self, size):
        """A step as a CPU takes it, which is killed instead of told."""
        try:
            return self.measure(size)
        except NoRoom:
            self.is_dead = True
            raise

    def holds(self, largest):
        """The true answer: each size is asked in turn."""
        return max((n for n in range(1, largest + 1) if self.fixed + self.image * n <= self.room),
                   default=None)  # fmt: skip


devices = st.builds(
    Device,
    fixed=st.integers(0, 1000),
    image=st.integers(1, 300),
    room=st.integers(0, 20_000),
    overhead=st.floats(0, 1),
    seconds=st.floats(0.001, 0.2),
)


@given(devices, st.integers(1, 600))
def test_halving_ends_at_two_thirds_of_what_the_device_holds_or_more(device, largest):
    most = device.holds(largest)
    fit = shrink(device.measure, 1, largest)
    if most is None:
        assert fit is None
        return
    assert fit.cost.memory <= device.room
    if most == largest:
        assert fit.size == largest and fit.bound is Bound.LARGEST and device.tried == [largest]
    else:
        assert fit.bound is Bound.MEMORY
        assert most * 2 / 3 - 1 <= fit.size <= most
        assert len(device.tried) <= largest.bit_length() + 2


@given(devices, st.integers(1, 600), st.floats(0.05, 20))
def test_doubling_never_goes_over_a_limit(device, largest, seconds):
    smallest = 1
    if device.fixed + device.image > device.room:
        assert grow(device.measure, smallest, largest, device.room, seconds) is None
        return
    fit = grow(device.measure_or_die, smallest, largest, device.room, seconds, fixed=device.fixed)
    assert not device.is_dead
    assert fit.cost.memory <= device.room
    assert fit.size == smallest or fit.cost.seconds <= seconds + 1e-9
    double = min(2 * fit.size, largest)
    if fit.bound is Bound.LARGEST:
        assert fit.size == largest
    elif fit.bound is Bound.MEMORY:
        assert device.fixed + device.image * double > device.room
    else:
        assert fit.cost.seconds * double / fit.size > seconds


def test_doubling_stops_where_a_step_is_given_up():
    def measure(size):
        if size > 5:
            raise NoRoom
        return Cost(100, 0.1)

    fit = grow(measure, 1, 64, memory=1000, seconds=60)
    assert (fit.size, fit.bound) == (4, Bound.MEMORY)


def test_the_slow_first_step_does_not_count():
    seconds = iter([7.0, 1.0, 2.0, 4.0, 8.0])
    fit = grow(lambda size: Cost(1, next(seconds)), 1, 512, memory=1e9, seconds=10)
    assert (fit.size, fit.bound, fit.cost.seconds) == (8, Bound.TIME, 8.0)


def test_a_step_of_minutes_is_taken_once():
    tried = []

    def measure(size):
        tried.append(size)
        return Cost(1, 90.0)

    assert grow(measure, 2, 8, memory=1e9, seconds=10).size == 2
    assert tried == [2]


class Hungry(nn.Module):
    """Keeps 60 MB of each call, as activations are kept.

    Fresh from the system: the C library may have memory left from other tests.
    """

    def forward(self, kept):
        block = mmap.mmap(-1, 60_000_000)
        block.write(bytes([1]) * len(block))
        return [*kept, block]


def test_memory_of_a_real_step():
    meter = HostMeter(None)

    def step(size):
        kept = []
        for _ in range(size):
            kept = Hungry()(kept)
        time.sleep(0.1)  # a backward pass

    costs = [meter.measure(step, size).memory for size in (1, 4)]
    assert costs[1] - costs[0] == pytest.approx(3 * 60e6, rel=0.2)


def test_a_step_is_given_up_before_the_memory_is_gone():
    meter = HostMeter(free=240_000_000)  # a quarter is kept
    part, calls = Hungry(), []
    part.register_forward_pre_hook(meter._check)

    def step(size):
        kept = []
        for _ in range(size):
            kept = part(kept)
            calls.append(len(kept))

    with pytest.raises(NoRoom):
        meter.measure(step, 100)
    assert 2 <= len(calls) <= 5


@pytest.mark.slow
def test_an_accelerator_that_is_full_is_told_by_the_error_class():
    def step(size):
        if size > 20:
            raise torch.cuda.OutOfMemoryError('these words mean nothing')

    meter = DeviceMeter('npu')
    fit = shrink(lambda size: meter.measure(step, size), 1, 64)
    assert (fit.size, fit.bound) == (16, Bound.MEMORY)

    def other(size):
        raise RuntimeError('CUDA out of memory')  # says so, and is something else

    with pytest.raises(RuntimeError, match='CUDA'):
        meter.measure(other, 1)


@pytest.mark.slow
def test_a_margin_of_the_free_memory_is_kept(monkeypatch):
    """100 of 1000 are another process's; steps take 10 an image, and 810 may be taken."""
    peak = 0
    fakes = dict(
        mem_get_info=lambda: (900, 1000),
        memory_reserved=lambda: 0,
        max_memory_reserved=lambda: peak,
        empty_cache=lambda: None,
        reset_peak_memory_stats=lambda: None,
        synchronize=lambda: None,
    )
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def step(size):
        nonlocal peak
        peak = 10 * size
        if peak > 900:
            raise torch.cuda.OutOfMemoryError

    meter = DeviceMeter('cuda')
    fits = [size for size in (1, 80, 81, 82, 90, 95) if _fits(meter, step, size)]
    assert fits == [1, 80, 81]


def _fits(meter, step, size):
    try:
        meter.measure(step, size)
    except NoRoom:
        return False
    return True


class Refused:
    """A step whose model cannot be built: the allocator says so by the same class as any fault."""

    smallest = 1

    def __init__(self, megabytes):
        self.megabytes = megabytes

    def build(self):
        self.kept = Hungry()([]) if self.megabytes else []
        raise RuntimeError("can't allocate memory")


def test_an_error_where_the_memory_is_used_up_means_no_room():
    assert HostMeter(free=40_000_000).search(Refused(60), 8, reserve=False) is None
    with pytest.raises(RuntimeError, match="can't"):
        HostMeter(free=4_000_000_000).search(Refused(0), 8, reserve=False)
