"""Windows against loops."""

import pytest
import torch

from mae_plugin.models.dense.window import (
    cells_of_windows,
    places_in_windows,
    window_partition,
    window_unpartition,
)


@pytest.mark.parametrize('grid', [(4, 6), (5, 7), (1, 2), (3, 3)])
@pytest.mark.parametrize('size', [1, 2, 3, 4])
def test_partition_and_back(grid, size):
    h, w = grid
    x = torch.randn(2, h, w, 3)
    expected = []
    for image in x:
        for top in range(0, h, size):
            for left in range(0, w, size):
                window = torch.zeros(size, size, 3)
                cut = image[top : top + size, left : left + size]
                window[: cut.shape[0], : cut.shape[1]] = cut
                expected.append(window.reshape(-1, 3))
    windows, tokens = torch.stack(expected), x.flatten(1, 2)
    assert torch.equal(window_partition(tokens, size, grid), windows)
    assert torch.equal(window_unpartition(windows, size, grid), tokens)
    # By index, as exported programs do.
    padded = torch.cat([tokens, torch.zeros(2, 1, 3)], dim=1)
    cells = padded[:, cells_of_windows(size, grid)]
    assert torch.equal(cells.reshape(windows.shape), windows)
    assert torch.equal(cells[:, places_in_windows(size, grid)], tokens)
