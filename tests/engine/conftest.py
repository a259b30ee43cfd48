"""Shared by the tests of the engine."""

import numpy as np
import pytest
from PIL import Image


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
