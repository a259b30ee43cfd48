"""Values of more than 8 bits between two limits as 8 bits: in every loader, by the formula."""

import numpy as np
import pytest
import tifffile
import torch

from mae_plugin.datasets import LoadImage, LoadRandomWindow, LoadResizeCenterCrop
from mae_plugin.datasets.decoding.decode import decode
from mae_plugin.datasets.decoding_options import decoding_options
from mae_plugin.errors import UserError

LOW, HIGH = 1000.0, 3000.0


def formula(pixels):
    """In float64, cut off and rounded."""
    scaled = (pixels.astype(np.float64) - LOW) / (HIGH - LOW) * 255
    return np.clip(scaled, 0, 255)


@pytest.fixture(params=['uint16', 'int16', 'float32'])
def stored(request, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4000, (40, 40, 3)).astype(request.param)
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, pixels, photometric='rgb' if request.param == 'uint16' else None)
    return path, pixels


def test_the_formula(stored):
    path, pixels = stored
    found = decode(path, 3, value_range=(LOW, HIGH))
    assert found.dtype == np.uint8
    assert np.abs(found - formula(pixels)).max() <= 0.5 + 1e-3


def test_every_loader_gives_it(stored):
    path, _ = stored
    options = dict(channels=3, value_range=[LOW, HIGH])
    expected = decode(path, 3, value_range=(LOW, HIGH))
    host = LoadImage(**options)(dict(img_path=str(path)))['img']
    assert np.array_equal(host, expected[..., ::-1])  # BGR, as hosts have it
    rng = np.random.default_rng(0)
    window = LoadRandomWindow(40, scale=(1, 1), flip_prob=0, **options)
    image = window(dict(img_path=str(path), rng=rng))['img'][0]
    assert torch.equal(image, torch.from_numpy(expected).permute(2, 0, 1))
    crop = LoadResizeCenterCrop(40, resize_short=40, **options)
    image = crop(dict(img_path=str(path)))['img'][0]
    assert torch.equal(image, torch.from_numpy(expected).permute(2, 0, 1))


def test_pictures_of_eight_bits_stay(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb')
    assert np.array_equal(decode(tmp_path / 'a.tif', 3, value_range=(LOW, HIGH)), pixels)


def test_alpha_has_its_own_range(tmp_path):
    pixels = np.full((8, 8, 4), 2000, np.uint16)
    pixels[..., 3] = 65535
    pixels[:4, :, 3] = 0
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', extrasamples=['unassalpha'])
    found = decode(tmp_path / 'a.tif', 3, value_range=(LOW, HIGH))
    assert (found[:4] == 255).all() and (abs(found[4:].astype(int) - 127.5) <= 0.5).all()


def test_it_is_stored_with_the_run():
    pipeline = [dict(type='LoadRandomResizedCrop', value_range=(LOW, HIGH))]
    config = dict(train_dataloader=dict(dataset=dict(pipeline=pipeline)))
    assert decoding_options(config) == dict(value_range=(LOW, HIGH))


@pytest.mark.parametrize(
    'wrong, words',
    [
        (dict(value_range=(5, 5)), 'two rising numbers'),
        (dict(value_range=(1, 2, 3)), 'two rising numbers'),
        (dict(value_range=(1, 2), keep_depth=True), 'give one of them'),
    ],
)
def test_nonsense_is_refused(wrong, words):
    for loader in (LoadImage, LoadResizeCenterCrop):
        with pytest.raises(UserError, match=words):
            loader(**(dict(size=8) if loader is LoadResizeCenterCrop else {}), **wrong)
