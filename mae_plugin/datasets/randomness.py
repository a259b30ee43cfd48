"""All randomness of a sample: a pure function of (seed, pass, index).

Nothing here knows of workers, processes or the global generators, so a sample looks the same
whichever worker makes it, and again after resuming.
"""

from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

_MASK64 = (1 << 64) - 1


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator that draws one sample's crop, flip and colours.

    NumPy's own seeding would take three times as long, 10 us (and far more with cold caches).
    """
    seeds: Any = _MixedSeed(_mix(seed, epoch, index, 1))  # numpy's types know only its own class
    return np.random.Generator(np.random.PCG64(seeds))


def sample_key(*parts: int) -> int:
    """A well-mixed int64 from a few non-negative integers, the seed of a sample's mask."""
    state = _mix(*parts)
    return state - (1 << 64) if state >> 63 else state


def _mix(*parts: int) -> int:
    """A well-mixed uint64: each part passes a round of SplitMix64 (Steele, Lea, Flood 2014).

    Neighbouring samples, passes and seeds get unrelated values.
    """
    state = 0
    for part in parts:
        state = (state ^ (part & _MASK64)) + 0x9E3779B97F4A7C15 & _MASK64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK64
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK64
        state ^= state >> 31
    return state


class _MixedSeed(ISeedSequence):
    """Seeds a bit generator from a value that is mixed already."""

    def __init__(self, value: int) -> None:
        self.value = value

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        words = [_mix(self.value, number) for number in range(n_words)]
        return np.array(words, np.uint64).astype(dtype)
