"""Crop boxes against torchvision's algorithm, and their alignment."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mae_plugin.datasets import RandomClippedCrop
from mae_plugin.datasets.crops import (
    align,
    clipped_box,
    decode_scale,
    random_resized_box,
    resize,
)
from mae_plugin.errors import UserError

SCALE, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)


def torchvision_box(rng, height, width, scale, ratio):
    """RandomResizedCrop.get_params of torchvision 0.28, with a NumPy generator."""
    area = height * width
    log_ratio = np.log(ratio)
    for _ in range(10):
        target_area = area * rng.uniform(*scale)
        aspect_ratio = math.exp(rng.uniform(*log_ratio))
        w = round(math.sqrt(target_area * aspect_ratio))
        h = round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            i = rng.integers(0, height - h + 1)
            j = rng.integers(0, width - w + 1)
            return i, j, h, w
    in_ratio = float(width) / float(height)
    if in_ratio < min(ratio):
        w = width
        h = round(w / min(ratio))
    elif in_ratio > max(ratio):
        h = height
        w = round(h * max(ratio))
    else:
        w = width
        h = height
    return (height - h) // 2, (width - w) // 2, h, w


def official_linear_box(rng, height, width, scale, ratio):
    """RandomResizedCrop.get_params of MAE's util/crop.py, with a NumPy generator."""
    target_area = height * width * rng.uniform(*scale)
    aspect_ratio = math.exp(rng.uniform(*np.log(ratio)))
    w = min(round(math.sqrt(target_area * aspect_ratio)), width)
    h = min(round(math.sqrt(target_area / aspect_ratio)), height)
    return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance between two empirical distributions."""
    points = np.concatenate([a, b])
    count = lambda x: np.searchsorted(np.sort(x), points, side='right') / len(x)  # noqa: E731
    return float(np.abs(count(a) - count(b)).max())


@pytest.mark.parametrize('shape', [(375, 500), (500, 500), (300, 900), (7, 5)])
@pytest.mark.parametrize('scale', [SCALE, (0.9, 1.0)])
def test_boxes_follow_torchvisions_law(shape, scale):
    count = 4000
    rng = np.random.default_rng(0)
    ours = np.array([random_resized_box(rng, *shape, scale, RATIO) for _ in range(count)])
    theirs = np.array([torchvision_box(rng, *shape, scale, RATIO) for _ in range(count)])
    limit = 1.95 * math.sqrt(2 / count)  # exceeded with probability 0.001
    for column in range(4):
        assert kolmogorov_smirnov(ours[:, column], theirs[:, column]) < limit
    both = [boxes[:, 2] * 1000.0 + boxes[:, 3] for boxes in (ours, theirs)]
    assert kolmogorov_smirnov(*both) < limit


@pytest.mark.parametrize('shape', [(375, 500), (500, 500), (300, 900)])
def test_linear_probings_boxes_follow_the_official_law(shape):
    count, scale = 4000, (0.08, 1.0)
    rng = np.random.default_rng(0)
    ours = np.array([clipped_box(rng, *shape, scale, RATIO) for _ in range(count)])
    theirs = np.array([official_linear_box(rng, *shape, scale, RATIO) for _ in range(count)])
    limit = 1.95 * math.sqrt(2 / count)  # exceeded with probability 0.001
    for column in range(4):
        assert kolmogorov_smirnov(ours[:, column], theirs[:, column]) < limit
    areas = (ours[:, 2] * ours[:, 3] / (shape[0] * shape[1])).mean()
    if shape == (375, 500):  # by torchvision's law it is 0.432
        assert 0.51 < areas < 0.53
    assert (ours[:, 0] + ours[:, 2] <= shape[0]).all()
    assert (ours[:, 1] + ours[:, 3] <= shape[1]).all()


def test_a_clipped_crop_is_pillows_resize_of_the_box():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    crop = RandomClippedCrop((32, 48))
    for seed in range(5):
        np.random.seed(seed)
        found = crop(dict(img=image))
        np.random.seed(seed)
        top, left, h, w = clipped_box(np.random, 60, 90, (0.08, 1.0), RATIO)
        box = (left, top, left + w, top + h)
        expected = Image.fromarray(image).crop(box).resize((48, 32), Image.BICUBIC)
        np.testing.assert_array_equal(found['img'], np.asarray(expected))
        assert found['img_shape'] == (32, 48) and found['img'].flags.c_contiguous


@pytest.mark.parametrize('option', ['crop_ratio_range', 'aspect_ratio_range'])
def test_a_clipped_crop_of_no_range_is_refused(option):
    with pytest.raises(UserError, match=rf'{option}=\(0.5, 0.4\)'):
        RandomClippedCrop(32, **{option: (0.5, 0.4)})


@settings(max_examples=150, deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000), seed=st.integers(0, 2**32))
def test_boxes_lie_inside_any_image(height, width, seed):
    box = random_resized_box(np.random.default_rng(seed), height, width, SCALE, RATIO)
    top, left, h, w = box
    assert top >= 0 and top + h <= height and h >= 1
    assert left >= 0 and left + w <= width and w >= 1


@pytest.mark.parametrize('shape', [(10, 1000), (1000, 10), (1, 30), (30, 1)])
def test_fallback_is_torchvisions(shape):
    impossible = (0.99, 1.0)
    ours = random_resized_box(np.random.default_rng(0), *shape, impossible, RATIO)
    assert ours == torchvision_box(np.random.default_rng(0), *shape, impossible, RATIO)


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(16, 3000),
    width=st.integers(16, 3000),
    size=st.tuples(st.integers(1, 256), st.integers(1, 256)),
    seed=st.integers(0, 2**32),
)
def test_aligned_boxes_hold_the_result_and_barely_move(height, width, size, seed):
    box = random_resized_box(np.random.default_rng(seed), height, width, SCALE, RATIO)
    factor = decode_scale(box, size, 8)
    if factor > 1:
        assert box[2] >= factor * size[0] and box[3] >= factor * size[1]
    top, left, h, w = align(box, factor, height, width)
    assert all(edge % factor == 0 for edge in (top, left, h, w)) or factor == 1
    assert h >= 1 and w >= 1 and top + h <= height and left + w <= width
    for moved, edge, total in (
        (top, box[0], height),
        (left, box[1], width),
        (top + h, box[0] + box[2], height),
        (left + w, box[1] + box[3], width),
    ):
        # Half a step, or what is left of a last incomplete one.
        assert abs(moved - edge) <= max(factor / 2, total % factor)


def test_scale_needs_twice_the_target_and_respects_the_limit():
    assert decode_scale((0, 0, 448, 448), (224, 224), 8) == 2
    assert decode_scale((0, 0, 447, 900), (224, 224), 8) == 1
    assert decode_scale((0, 0, 900, 900), (224, 224), 8) == 4
    assert decode_scale((0, 0, 900, 900), (224, 224), 2) == 2
    assert decode_scale((0, 0, 100, 100), (224, 224), 8) == 1
    assert decode_scale((0, 0, 9000, 9000), (224, 224), 8) == 8


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, np.int16, np.float64])
@pytest.mark.parametrize('channels', [1, 3, 12])
def test_resize_of_any_dtype(dtype, channels):
    pixels = (np.random.default_rng(0).random((40, 30, channels)) * 100).astype(dtype)
    small = resize(pixels, (16, 20), 'bicubic')
    assert small.shape == (channels, 16, 20) and small.is_contiguous()
    kept = dtype == np.uint8 or (dtype == np.uint16 and hasattr(torch, 'uint16'))
    assert small.numpy().dtype == (dtype if kept else np.float32)
    reference = resize(pixels.astype(np.float32), (16, 20), 'bicubic').clamp(0, 65535)
    assert (small.float() - reference).abs().mean() < 0.4
    mirrored = resize(pixels, (16, 20), 'bicubic', flip=True)
    np.testing.assert_array_equal(mirrored.numpy(), small.numpy()[..., ::-1])
