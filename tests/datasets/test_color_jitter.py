"""Colour changes against Pillow's ImageEnhance and colorsys."""

import numpy as np
import pytest
import torch
from photos import photo
from PIL import Image, ImageEnhance

from mae_plugin.datasets.color_jitter import (
    ColorJitter,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)


@pytest.mark.parametrize('factor', [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize(
    ('adjust', 'enhance'),
    [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    ],
)
def test_against_pillow(adjust, enhance, factor):
    image = photo(60, 40)
    expected = np.asarray(enhance(image).enhance(factor)).astype(int)
    found = adjust(np.asarray(image).transpose(2, 0, 1), factor).transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize('shift', [-0.5, -0.1, 0.0, 0.25])
def test_hue_against_pillow(shift):
    image = photo(60, 40)
    h, s, v = image.convert('HSV').split()
    turned = (np.asarray(h).astype(int) + round(shift * 255)) % 256
    expected = np.asarray(
        Image.merge('HSV', (Image.fromarray(turned.astype(np.uint8)), s, v)).convert('RGB')
    )
    found = adjust_hue(np.asarray(image).transpose(2, 0, 1), shift).transpose(1, 2, 0)
    assert np.abs(found.astype(int) - expected).mean() < 2


def test_order_and_factors_vary_and_repeat():
    images = [torch.from_numpy(np.asarray(photo(20, 20)).transpose(2, 0, 1).copy())]
    results = [
        ColorJitter()(dict(img=list(images), rng=np.random.default_rng(seed)))['img'][0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0], images[0])


def test_zero_strength_changes_nothing():
    image = np.asarray(photo(20, 20)).transpose(2, 0, 1)
    np.testing.assert_array_equal(
        ColorJitter(0, 0, 0, 0).jitter(image, np.random.default_rng(0)), image
    )


def test_grey_images_get_brightness_and_contrast():
    image = np.asarray(photo(20, 20).convert('L'))[None]
    changed = ColorJitter().jitter(image, np.random.default_rng(0))
    assert changed.shape == image.shape and changed.dtype == np.uint8


@pytest.mark.parametrize(
    'image', [np.zeros((12, 4, 4), np.uint8), np.zeros((3, 4, 4), np.float32)]
)
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match='ColorJitter takes uint8'):
        ColorJitter().jitter(image, np.random.default_rng(0))
