"""Noise of one band: against scipy's filter, in its spectrum, and the same everywhere."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mae_plugin.datasets.randomness import sample_key
from mae_plugin.errors import UserError
from mae_plugin.models import GreenNoiseMasking, RandomMasking
from mae_plugin.models.masking import mask_from_ids
from mae_plugin.models.noise import hashed_noise

BANDS = ('green', 'red', 'blue', 'purple')


def keys_of(count):
    return torch.tensor([sample_key(5, number) for number in range(count)])


def masks_of(masking, grid, count):
    """Masks (count, h, w), 1 where removed."""
    _, ids_masked = masking(count, grid, keys=keys_of(count))
    return mask_from_ids(ids_masked, grid[0] * grid[1]).reshape(-1, *grid).numpy()


@pytest.mark.parametrize('grid', [(14, 14), (12, 20)])
@pytest.mark.parametrize('band', BANDS)
def test_the_highest_of_the_filtered_noise_are_kept(band, grid):
    h, w = grid
    masking = GreenNoiseMasking(0.75, band, sigmas=(0.8, 1.7))
    noise = hashed_noise(keys_of(3), 5 * h * w)
    torus = noise[:, : 4 * h * w].reshape(3, 2 * h, 2 * w).double().numpy() / 2**53
    narrow, wide = (
        gaussian_filter(torus, (0, sigma, sigma), mode='wrap', radius=(0, 11, 11))
        for sigma in (0.8, 1.7)
    )
    expected = dict(
        green=narrow - wide, red=wide, blue=torus - narrow, purple=torus - (narrow - wide)
    )[band][:, :h, :w].reshape(3, -1)
    score = masking.score(noise, grid).numpy()
    np.testing.assert_allclose(-score / 2**50, expected, atol=2e-4)

    ids_keep, ids_masked = masking(3, grid, keys=keys_of(3))
    assert ids_keep.shape == (3, h * w // 4)
    kept, masked = (np.take_along_axis(expected, ids.numpy(), 1) for ids in (ids_keep, ids_masked))
    assert (kept.min(1) > masked.max(1) - 4e-4).all()


def energy_by_frequency(masking, grid=(24, 36), count=300):
    """Spectral energy of masks below, inside and above the green band, in cycles per patch."""
    masks = masks_of(masking, grid, count)
    energy = np.abs(np.fft.fft2(masks - masks.mean((1, 2), keepdims=True))) ** 2
    frequency = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, grid), indexing='ij'))
    # Half the power of exp(-2 (pi f)^2) - exp(-2 (2 pi f)^2), and well outside on both sides.
    zones = (frequency < 0.05, (frequency > 0.093) & (frequency < 0.23), frequency > 0.3)
    return np.array([energy[:, zone].sum() / energy.sum() for zone in zones])


@pytest.mark.parametrize(
    'band, below, inside, above',
    [
        ('green', (0, 1.6), (2.5, 9), (0, 0.6)),
        ('red', (10, 99), (1, 9), (0, 0.3)),
        ('blue', (0, 0.7), (0, 0.8), (1.05, 9)),
        ('purple', (0.8, 1.3), (0, 0.85), (1.03, 9)),
    ],
)
def test_energy_lies_in_the_band_where_white_noise_spreads_it(band, below, inside, above):
    white = energy_by_frequency(RandomMasking(0.75))
    ratios = energy_by_frequency(GreenNoiseMasking(0.75, band)) / white
    for ratio, (least, most) in zip(ratios, (below, inside, above)):
        assert least < ratio < most


@pytest.mark.parametrize('band', BANDS)
@pytest.mark.parametrize('grid', [(14, 14), (3, 8)])
def test_noise_is_as_strong_at_borders_as_inside(band, grid):
    count = 4000
    noise = hashed_noise(keys_of(count), 5 * grid[0] * grid[1])
    variance = GreenNoiseMasking(0.75, band).score(noise, grid).var(0)
    assert (variance / variance.mean() - 1).abs().max() < 5 * (2 / count) ** 0.5


@pytest.mark.parametrize('band', BANDS)
@pytest.mark.parametrize('grid, ratio', [((1, 1), 0), ((1, 9), 0.5), ((2, 3), 0.7), ((5, 2), 0.8)])
def test_small_grids_keep_the_exact_number(band, grid, ratio):
    masks = masks_of(GreenNoiseMasking(ratio, band), grid, 5)
    length = grid[0] * grid[1]
    assert (masks.sum((1, 2)) == length - int(length * (1 - ratio))).all()


@pytest.mark.parametrize('band', BANDS)
def test_a_key_fixes_the_mask_in_any_batch_and_under_autocast(band):
    masking, keys = GreenNoiseMasking(0.75, band), keys_of(200)
    whole = masking(200, (14, 14), keys=keys)
    alone = [masking(1, (14, 14), keys=key[None]) for key in keys]
    with torch.autocast('cpu', torch.bfloat16):
        autocast = masking(200, (14, 14), keys=keys)
    for part in range(2):
        assert torch.equal(torch.cat([one[part] for one in alone]), whole[part])
        assert torch.equal(autocast[part], whole[part])


def test_wrong_arguments_are_named():
    with pytest.raises(UserError, match="band='pink': choose one of green, red, blue, purple"):
        GreenNoiseMasking(band='pink')
    for sigmas in ((2, 1), (0, 1), (1, 1)):
        with pytest.raises(UserError, match='give the narrow Gaussian first'):
            GreenNoiseMasking(sigmas=sigmas)
