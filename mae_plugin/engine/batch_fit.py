"""How large a batch a device takes: the search alone, whatever measures a step of it.

A step's cost comes from a function, so that the search can be tried on devices that do not exist.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple


class NoRoom(Exception):  # noqa: N818 - says what happened
    """A step wants more memory than the device may give it."""


class Bound(Enum):
    """What keeps a batch from being larger."""

    LARGEST = 'nothing: it is the largest that was asked for'
    MEMORY = 'memory'
    TIME = 'the time that a step takes'


class Cost(NamedTuple):
    """What a step took: bytes at its peak, weights and optimizer included, and seconds."""

    memory: int
    seconds: float


class Fit(NamedTuple):
    """The batch that was found, why it is no larger, and what its step took."""

    size: int
    bound: Bound
    cost: Cost


Measure = Callable[[int], Cost]


def grow(
    measure: Measure, smallest: int, largest: int, memory: float, seconds: float, fixed: int = 0
) -> Fit | None:
    """The largest batch found by doubling from the smallest, without ever going over a limit.

    For devices where too large a batch ends the process. A step is tried only if those before it
    say that it will keep to both limits.

    Args:
        measure: Runs a step of so many images; may raise :class:`NoRoom`.
        smallest: Images of the first try; taken whatever its time is.
        largest: No more than these.
        memory: Bytes that a step may take at its peak.
        seconds: Seconds that a step should take at most.
        fixed: Bytes that a step of no images would take.

    Returns:
        The fit; None if not even the smallest has room.
    """
    try:
        cost = measure(smallest)
        if cost.seconds < seconds:
            cost = measure(smallest)  # the first call of anything takes longer
    except NoRoom:
        return None
    if cost.memory > memory:
        return None
    size, slope = smallest, (cost.memory - fixed) / smallest
    while size < largest:
        larger = min(2 * size, largest)
        if cost.seconds * larger / size > seconds:
            return Fit(size, Bound.TIME, cost)
        if cost.memory + slope * (larger - size) > memory:
            return Fit(size, Bound.MEMORY, cost)
        try:
            tried = measure(larger)
        except NoRoom:
            return Fit(size, Bound.MEMORY, cost)
        if tried.memory > memory:
            return Fit(size, Bound.MEMORY, cost)
        # Allocators reuse what earlier steps left: no growth is no promise.
        slope = max(slope / 2, (tried.memory - cost.memory) / (larger - size))
        size, cost = larger, tried
    return Fit(size, Bound.LARGEST, cost)


def shrink(measure: Measure, smallest: int, largest: int) -> Fit | None:
    """The largest batch found by halving from the largest, and one try half-way back.

    For devices that tell that they are full, and where the largest usually fits: then one step
    has been run.

    Args:
        measure: Runs a step of so many images, or raises :class:`NoRoom`.
        smallest: No fewer than these.
        largest: Images of the first try.

    Returns:
        The fit; None if not even the smallest has room.
    """
    cost, size = _try(measure, largest), largest
    while cost is None:
        if size <= smallest:
            return None
        size = max(smallest, size // 2)
        cost = _try(measure, size)
    if size == largest:
        return Fit(size, Bound.LARGEST, cost)
    middle = size + size // 2
    if size < middle < largest and (found := _try(measure, middle)) is not None:
        return Fit(middle, Bound.MEMORY, found)
    return Fit(size, Bound.MEMORY, cost)


def _try(measure: Measure, size: int) -> Cost | None:
    try:
        return measure(size)
    except NoRoom:
        return None
