"""Masks of aligned cells: the published algorithm where it applies, its laws everywhere."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mae_plugin.datasets.randomness import sample_key
from mae_plugin.errors import UserError
from mae_plugin.models import CellMasking
from mae_plugin.models.masking import mask_from_ids
from mae_plugin.models.noise import hashed_noise

sides = st.integers(1, 18)
cells = st.integers(1, 7)
cases = settings(max_examples=60, deadline=None)


def keys_of(count, seed=3):
    return torch.tensor([sample_key(seed, number) for number in range(count)])


def masks_of(masking, grid, keys):
    """Masks (B, h, w) of booleans, True where removed."""
    _, ids_masked = masking(len(keys), grid, keys=keys)
    return mask_from_ids(ids_masked, grid[0] * grid[1]).reshape(-1, *grid).numpy().astype(bool)


def published_mask(noise, grid, cell, ratio):
    """Pixio's: draw cells without replacement, keep ``int(cells · (1 - ratio))``, enlarge."""
    rows, columns = grid[0] // cell, grid[1] // cell
    keep = int(rows * columns * (1 - ratio))
    small = np.ones(rows * columns, bool)
    small[np.argsort(noise[: rows * columns], kind='stable')[:keep]] = False
    return np.kron(small.reshape(rows, columns), np.ones((cell, cell), bool))


@cases
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    cell=st.integers(1, 4),
    kept=st.integers(1, 25),
    seed=st.integers(0, 2**31),
)
def test_is_the_published_algorithm_where_cells_add_up(rows, columns, cell, kept, seed):
    total = rows * columns
    assume(kept <= total)
    ratio = 1 - (kept + 1e-6) / total if kept < total else 0.0
    grid, keys = (rows * cell, columns * cell), keys_of(3, seed)
    assert int(total * cell**2 * (1 - ratio)) == kept * cell**2
    noise = hashed_noise(keys, 3 * grid[0] * grid[1]).numpy()
    masks = masks_of(CellMasking(ratio, cell), grid, keys)
    for mask, row in zip(masks, noise):
        assert (mask == published_mask(row, grid, cell, ratio)).all()


def test_the_published_setting_keeps_four_whole_cells_of_sixteen():
    masks = masks_of(CellMasking(), (16, 16), keys_of(50))
    shares = masks.reshape(50, 4, 4, 4, 4).mean((2, 4))
    assert set(np.unique(shares)) == {0, 1}
    assert ((shares == 0).sum((1, 2)) == 4).all()


@cases
@given(h=sides, w=sides, cell=cells, ratio=st.floats(0, 0.99), seed=st.integers(0, 2**31))
def test_at_most_one_cell_is_kept_in_part_and_the_number_is_exact(h, w, cell, ratio, seed):
    num_keep = int(h * w * (1 - ratio))
    assume(num_keep >= 1)
    for mask in masks_of(CellMasking(ratio, cell), (h, w), keys_of(3, seed)):
        assert (~mask).sum() == num_keep
        tiles = [
            mask[y : y + cell, x : x + cell] for y in range(0, h, cell) for x in range(0, w, cell)
        ]
        assert sum(0 < tile.mean() < 1 for tile in tiles) <= 1


@pytest.mark.parametrize('grid, cell', [((8, 12), 4), ((6, 9), 3)])
def test_every_cell_is_as_likely_and_a_partial_ones_patches_too(grid, cell):
    draws = 4000
    masks = masks_of(CellMasking(0.6, cell), grid, keys_of(draws))
    share = (~masks).mean(0)
    # Places of a cell hang together, but each by itself is one draw for each image.
    assert np.abs(share - int(0.4 * share.size) / share.size).max() < 5 * (0.24 / draws) ** 0.5


def test_a_cell_of_one_patch_is_as_random_as_random_masking():
    draws, grid = 6000, (3, 4)
    masks = masks_of(CellMasking(0.75, cell_size=1), grid, keys_of(draws)).reshape(draws, -1)
    keep = (~masks).astype(int)
    assert chisquare(keep.sum(0)).pvalue > 1e-3
    assert chisquare((keep.T @ keep)[np.triu_indices(12, 1)]).pvalue > 1e-3


@pytest.mark.parametrize('cell_size', [0, -2, 2.5, True])
def test_a_cell_that_is_none_is_named(cell_size):
    with pytest.raises(UserError, match=f'cell_size={cell_size}'):
        CellMasking(cell_size=cell_size)
