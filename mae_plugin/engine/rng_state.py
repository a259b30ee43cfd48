"""The random state of one process as tensors and plain types."""

import random
from typing import Any

import numpy as np
import torch


def get_rng_state() -> dict[str, Any]:
    """The generators of torch (CPU and current GPU), numpy and Python, as plain data."""
    mersenne: Any = np.random.get_state(legacy=True)  # numpy's types leave a dict possible
    _, keys, position, has_gauss, cached = mersenne
    state: dict[str, Any] = dict(
        torch=torch.get_rng_state(),
        numpy=(torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        python=random.getstate(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what :func:`get_rng_state` returned, on whatever device it was loaded."""
    torch.set_rng_state(state['torch'].cpu())
    keys, position, has_gauss, cached = state['numpy']
    keys = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state(('MT19937', keys, position, has_gauss, cached))
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
