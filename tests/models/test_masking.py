"""The laws of masking, for any grid and any ratio; see paper, section 3 and Figure 6."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maskings import KINDS, RANDOM_KINDS
from scipy.ndimage import label
from scipy.stats import chisquare

from mae_plugin.datasets.randomness import sample_key
from mae_plugin.models.masking import (
    BlockMasking,
    GridMasking,
    RandomMasking,
    mask_from_ids,
    restore_ids,
    split_by_noise,
)
from mae_plugin.models.noise import hashed_noise

grids = st.tuples(st.integers(1, 20), st.integers(1, 20))
ratios = st.floats(0, 0.99)
seeds = st.integers(0, 2**31)
cases = settings(max_examples=40, deadline=None)


def keys_of(*numbers):
    return torch.tensor([sample_key(7, number) for number in numbers])


def keeps_some(grid, ratio):
    return int(grid[0] * grid[1] * (1 - ratio)) >= 1


def masks_of(masking, grid, keys):
    """Masks (B, h, w) as numpy booleans."""
    _, ids_masked = masking(len(keys), grid, keys=keys)
    return mask_from_ids(ids_masked, grid[0] * grid[1]).reshape(-1, *grid).numpy().astype(bool)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('with_keys', [False, True])
@cases
@given(grid=grids, ratio=ratios, seed=seeds)
def test_laws(kind, with_keys, grid, ratio, seed):
    length = grid[0] * grid[1]
    if not keeps_some(grid, ratio):
        with pytest.raises(ValueError, match='keeps none'):
            kind(ratio)(3, grid)
        return
    torch.manual_seed(seed)
    keys = keys_of(seed, seed + 1, seed + 2) if with_keys else None
    ids_keep, ids_masked = kind(ratio)(3, grid, keys=keys)

    num_keep = int(length * (1 - ratio))
    assert ids_keep.shape == (3, num_keep)
    assert ids_masked.shape == (3, length - num_keep)
    everything = torch.cat([ids_keep, ids_masked], dim=1)
    assert torch.equal(everything.sort(dim=1).values, torch.arange(length).expand(3, -1))

    tokens = everything * 10  # any function of the place
    restored = tokens.gather(1, restore_ids(ids_keep, ids_masked))
    assert torch.equal(restored, (torch.arange(length) * 10).expand(3, -1))

    mask = mask_from_ids(ids_masked, length)
    assert mask.gather(1, ids_masked).eq(1).all() and mask.gather(1, ids_keep).eq(0).all()
    assert torch.equal(mask.sum(1), torch.full((3,), float(length - num_keep)))


@cases
@given(grid=grids, ratio=ratios, seed=seeds, batch=st.integers(1, 4))
def test_random_masking_is_the_official_algorithm(grid, ratio, seed, batch):
    length = grid[0] * grid[1]
    if not keeps_some(grid, ratio):
        return
    torch.manual_seed(seed)
    ids_keep, ids_masked = RandomMasking(ratio)(batch, grid)
    torch.manual_seed(seed)
    noise = torch.rand(batch, length)

    # models_mae.py, random_masking
    len_keep = int(length * (1 - ratio))
    ids_shuffle = torch.argsort(noise, dim=1)
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    mask = torch.ones([batch, length])
    mask[:, :len_keep] = 0
    mask = torch.gather(mask, dim=1, index=ids_restore)

    assert torch.equal(ids_keep, ids_shuffle[:, :len_keep])
    assert torch.equal(restore_ids(ids_keep, ids_masked), ids_restore)
    assert torch.equal(mask_from_ids(ids_masked, length), mask)


@pytest.mark.parametrize('kind', KINDS)
@cases
@given(grid=grids, ratio=ratios, numbers=st.permutations(range(5)))
def test_a_key_fixes_its_mask_wherever_the_sample_stands(kind, grid, ratio, numbers):
    if not keeps_some(grid, ratio):
        return
    masking = kind(ratio)
    whole = masking(5, grid, keys=keys_of(*range(5)))
    torch.manual_seed(0)
    shuffled = masking(5, grid, keys=keys_of(*numbers))
    alone = masking(1, grid, keys=keys_of(numbers[0]))
    for part in range(2):
        assert torch.equal(shuffled[part], whole[part][list(numbers)])
        assert torch.equal(alone[part][0], shuffled[part][0])


def test_hashed_noise_is_splitmix64():
    def splitmix64(key, counter):
        wrap = (1 << 64) - 1
        x = (key + counter * 0x9E3779B97F4A7C15) & wrap
        x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & wrap
        x = ((x ^ x >> 27) * 0x94D049BB133111EB) & wrap
        return (x ^ x >> 31) >> 11

    keys = torch.tensor([0, 1, -1, 2**63 - 1, -(2**63), sample_key(3, 4)])
    expected = [[splitmix64(int(key), n) for n in range(1, 10)] for key in keys]
    assert hashed_noise(keys, 9).tolist() == expected


@pytest.mark.parametrize('with_keys', [False, True])
def test_random_masking_is_uniform(with_keys):
    grid, draws = (3, 4), 6000
    torch.manual_seed(0)
    keys = keys_of(*range(draws)) if with_keys else None
    ids_keep, ids_masked = RandomMasking(0.75)(draws, grid, keys=keys)
    # How often each patch is kept, and in which place of the order it comes first.
    kept = np.bincount(ids_keep.flatten(), minlength=12)
    assert chisquare(kept).pvalue > 1e-3
    assert chisquare(np.bincount(ids_masked[:, 0], minlength=12)).pvalue > 1e-3
    # Pairs: whether one patch is kept says nothing beyond 3 · 2 / (12 · 11) of another.
    mask = 1 - mask_from_ids(ids_masked, 12)
    pairs = (mask.T @ mask)[np.triu_indices(12, 1)].numpy()
    assert chisquare(pairs).pvalue > 1e-3


@pytest.mark.parametrize('kind', RANDOM_KINDS)
@pytest.mark.parametrize('with_keys', [False, True])
def test_samples_of_a_batch_are_independent(kind, with_keys):
    torch.manual_seed(0)
    draws, grid = 1000, (6, 6)
    keys = keys_of(*range(2 * draws)) if with_keys else None
    _, ids_masked = kind(0.5)(2 * draws, grid, keys=keys)
    masks = mask_from_ids(ids_masked, 36)
    one, other = masks[::2].numpy(), masks[1::2].numpy()
    assert len(np.unique(masks.numpy(), axis=0)) > 100
    # Neighbours in the batch agree on a patch as often as strangers do.
    expected = (one.mean(0) * other.mean(0)).sum()
    observed = (one * other).sum(1)
    assert abs(observed.mean() - expected) < 4 * observed.std() / draws**0.5


@pytest.mark.parametrize('kind', KINDS)
def test_masked_patches_come_in_random_order(kind):
    # A decoder that predicts only the first n of them must not see a biased choice.
    draws, grid = 3000, (4, 4)
    _, ids_masked = kind(0.5)(draws, grid, keys=keys_of(*range(draws)))
    masked = mask_from_ids(ids_masked, 16).sum(0)
    first = np.bincount(ids_masked[:, 0], minlength=16)
    chosen = masked > 0
    assert chisquare(first[chosen], (masked / 8)[chosen].numpy()).pvalue > 1e-3


@cases
@given(h=st.integers(1, 10), w=st.integers(1, 10))
def test_grid_keeps_one_of_every_four(h, w):
    mask = masks_of(GridMasking(0.75), (2 * h, 2 * w), keys_of(1, 2))
    expected = np.ones((2 * h, 2 * w), bool)
    expected[::2, ::2] = False
    assert (mask == expected).all()


@pytest.mark.parametrize('ratio', [0.25, 0.5, 0.9])
def test_grid_is_regular_at_other_ratios(ratio):
    mask = masks_of(GridMasking(ratio), (16, 16), keys_of(1))[0]
    windows = np.lib.stride_tricks.sliding_window_view(mask, (4, 4)).sum((2, 3))
    assert windows.max() - windows.min() <= 1
    if ratio == 0.5:
        assert (mask == (np.indices((16, 16)).sum(0) % 2 == 1)).all()


def test_blocks_are_connected_where_random_patches_are_not():
    def largest_area(masking):
        masks = masks_of(masking, (14, 14), keys_of(*range(100)))
        return np.mean([np.bincount(label(mask)[0].flat)[1:].max() for mask in masks])

    assert largest_area(BlockMasking(0.4)) > 0.7 * 0.4 * 196
    assert largest_area(RandomMasking(0.4)) < 0.4 * 0.4 * 196


def test_a_single_block_is_a_rectangle_of_the_allowed_shape():
    masks = masks_of(BlockMasking(0.15, min_patches=28), (14, 14), keys_of(*range(300)))
    full, aspects = 0, []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        # 30 patches: one rectangle of 28 or more, the missing or superfluous ones beside it.
        if mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all():
            full += 1
            aspects.append(height / width)
    assert full > 10
    assert min(aspects) > 0.2 and max(aspects) < 5


def test_blocks_reach_all_places_and_shapes():
    masks = masks_of(BlockMasking(0.3), (12, 8), keys_of(*range(400)))
    share = masks.mean(0)
    assert share.min() > 0.02 and share.max() < 0.7
    assert abs(share.mean() - 0.3) < 0.01


def test_aspect_sets_the_blocks_shape():
    def mean_height(aspect):
        masking = BlockMasking(0.2, min_patches=20, aspect=aspect)
        return masks_of(masking, (16, 16), keys_of(*range(100))).any(2).sum(1).mean()

    assert mean_height((3.0, 3.5)) > 1.5 * mean_height((0.3, 0.35))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('ratio', [-0.1, 1, 1.5, 75, float('nan')])
def test_ratio_outside_its_range_is_named(kind, ratio):
    with pytest.raises(ValueError, match=rf'mask_ratio={ratio} is outside \[0, 1\)'):
        kind(ratio)


@pytest.mark.parametrize('kind', KINDS)
def test_keeping_nothing_is_refused_with_the_way_out(kind):
    with pytest.raises(ValueError, match=r'mask_ratio=0.75 keeps none of the 2 patches.*1x2'):
        kind(0.75)(4, (1, 2))


def test_ratio_zero_keeps_everything():
    ids_keep, ids_masked = RandomMasking(0)(2, (3, 5))
    assert ids_keep.shape == (2, 15) and ids_masked.shape == (2, 0)
    assert mask_from_ids(ids_masked, 15).sum() == 0


def test_equal_noise_is_split_in_raster_order():
    ids_keep, ids_masked = split_by_noise(torch.zeros(2, 8), 0.5)
    assert ids_keep.tolist() == [[0, 1, 2, 3]] * 2 and ids_masked.tolist() == [[4, 5, 6, 7]] * 2
