"""Noise that follows from a sample alone: the same mask for the same sample, in any run."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def sample_keys(
    data_samples: Sequence[Any] | None, device: torch.device | str | None = None
) -> Tensor | None:
    """Keys (B,) of the samples, or None unless every one has a ``sample_key``."""
    keys = [getattr(sample, 'sample_key', None) for sample in data_samples or ()]
    if not keys or None in keys:
        return None
    # From pinned memory the copy does not wait for the device.
    pinned = torch.device(device or 'cpu').type == 'cuda'
    return torch.tensor(keys, pin_memory=pinned).to(device, non_blocking=True)


def _wrap(constant: int) -> int:
    """A 64-bit constant as the signed integer that torch stores."""
    return constant - (1 << 64) if constant >= 1 << 63 else constant


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def hashed_noise(keys: Tensor, length: int) -> Tensor:
    """Independent uniform noise for each sample, a pure function of the sample's key.

    A counter-based generator (splitmix64's finaliser over key and counter, integer arithmetic
    alone), so the same key gives the same noise on every device, in any batch, at any world
    size, and after resuming. Two million draws take one kernel's time.

    Args:
        keys: int64 (B,), well mixed.
        length: Numbers per key.

    Returns:
        int64 (B, length), uniform over 0 to 2^53 - 1.
    """
    counters = torch.arange(1, length + 1, device=keys.device)
    x = keys[:, None] + counters * _wrap(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _wrap(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _wrap(0x94D049BB133111EB)
    return _shift_right(x ^ _shift_right(x, 31), 11)


def unit_noise(noise: Tensor) -> Tensor:
    """Noise as float64 in [0, 1), whether hashed_noise (int64) or torch.rand (float) drew it."""
    return noise.double() / 2**53 if noise.dtype == torch.int64 else noise.double()
