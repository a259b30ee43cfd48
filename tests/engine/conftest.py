"""Shared by the tests of the engine."""

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from mae_plugin import compat


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """21 images, which neither 2 x 4 nor 1 x 8 divides."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for index in range(21):
        steps = rng.normal(0, 12, (40, 48, 3))
        pixels = np.clip(np.cumsum(steps, 1) + 128, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{index:02d}.png')
    return folder


@pytest.fixture
def amp_on_cpu(monkeypatch):
    """torch's gradient scaler works on a CPU; mmengine's wrapper would not start there."""
    if compat.TORCH < (2, 3):
        pytest.skip('before torch 2.3 the gradient scaler works on CUDA alone')
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{module}.GradScaler', functools.partial(torch.amp.GradScaler, 'cpu'))
