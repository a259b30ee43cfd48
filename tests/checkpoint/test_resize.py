"""Positions, relative positions, patches and channels against independent references."""

import pytest
import torch
import torch.nn.functional as F

from mae_plugin.checkpoint.resize import (
    find_grid,
    fit_pos_embed,
    resize_channels,
    resize_patch_projection,
    resize_rel_pos,
)
from mae_plugin.geometry import sincos_pos_embed


def test_positions_square_as_timm():
    from timm.layers import resample_abs_pos_embed

    table = torch.randn(1, 1 + 14 * 14, 16)
    expected = resample_abs_pos_embed(table, [18, 18], antialias=False)
    fitted, how = fit_pos_embed(table, (18, 18), 1)
    torch.testing.assert_close(fitted, expected)
    assert how == 'a grid of 14x14 to a grid of 18x18, bicubic'


@pytest.mark.parametrize('rows_for_cls', [0, 1])
@pytest.mark.parametrize('wanted_for_cls', [0, 1])
def test_positions_to_another_shape(rows_for_cls, wanted_for_cls):
    patches = torch.randn(1, 6, 6, 8)
    cls = torch.randn(1, rows_for_cls, 8)
    table = torch.cat([cls, patches.flatten(1, 2)], dim=1)
    resized = F.interpolate(patches.permute(0, 3, 1, 2), size=(4, 8), mode='bicubic')
    row = cls if rows_for_cls and wanted_for_cls else torch.zeros(1, wanted_for_cls, 8)
    expected = torch.cat([row, resized.flatten(2).mT], dim=1)
    fitted, how = fit_pos_embed(table, (4, 8), wanted_for_cls, bool(rows_for_cls))
    torch.testing.assert_close(fitted, expected)
    assert ('class token' in how) == (rows_for_cls != wanted_for_cls)


def test_positions_that_fit_are_the_same_tensor():
    table = torch.randn(1, 1 + 3 * 5, 8)
    fitted, how = fit_pos_embed(table, (3, 5), 1)
    assert fitted is table and not how


@pytest.mark.parametrize(
    ('grid', 'target', 'cls_row', 'has_cls_token'),
    [
        ((14, 14), (14, 14), 1, True),
        ((14, 14), (32, 32), 1, False),  # detectron2: a row for a class token that is not there
        ((14, 14), (10, 20), 0, True),  # timm's no_embed_class: a class token without a row
        ((14, 14), (7, 28), 1, True),  # as many patches as the model has, in another shape
        ((7, 28), (7, 28), 1, True),
        ((10, 6), (20, 12), 1, True),
        ((10, 6), (20, 12), 0, False),
        # Neither the model's shape nor a square, in spite of the number of rows:
        ((7, 28), (14, 14), 1, True),
        ((28, 7), (14, 14), 0, False),
        ((4, 9), (18, 2), 1, True),
        ((10, 6), (14, 14), 1, True),  # 160x96 pixels into a square model
        ((6, 10), (14, 14), 1, True),
        ((8, 64), (14, 14), 1, True),  # a spectrogram
        ((5, 13), (14, 14), 1, True),  # 66 rows would be 6x11 without the class token
        ((12, 16), None, 1, True),
        ((14, 14), None, 1, True),
    ],
)
@pytest.mark.parametrize('noise', [0.0, 0.1])
def test_grid_is_told_from_the_rows(grid, target, cls_row, has_cls_token, noise):
    table = sincos_pos_embed(32, grid, cls_row)
    # Trained positions are no longer smooth.
    table += noise * torch.randn(table.shape, generator=torch.Generator().manual_seed(0))
    assert find_grid(table, target, has_cls_token) == (cls_row, grid)


@pytest.mark.parametrize(('rows', 'grid'), [(197, (14, 14)), (17, (4, 4)), (61, (6, 10))])
def test_rough_positions_have_the_shape_of_the_model(rows, grid):
    """Where no neighbours are alike, any grid is as good: the model's, or a square."""
    table = torch.randn(1, rows, 64, generator=torch.Generator().manual_seed(0))
    assert find_grid(table, grid, num_cls_tokens=1) == (1, grid)
    if grid[0] == grid[1]:
        assert find_grid(table, (3, 5), num_cls_tokens=1) == (1, grid)


@pytest.mark.parametrize('fill', [torch.zeros, torch.randn])
def test_unknowable_grid_is_refused(fill):
    with pytest.raises(ValueError, match=r'48 rows.*which grid.*img_size'):
        find_grid(fill(1, 48, 64), (4, 4), num_cls_tokens=1)


def test_relative_positions_as_detectron2():
    """``F.interpolate(rel_pos.reshape(1, L, -1).permute(0, 2, 1), size, mode='linear')``."""
    table = torch.randn(27, 16)
    resized = F.interpolate(table.reshape(1, 27, -1).permute(0, 2, 1), size=127, mode='linear')
    expected = resized.reshape(-1, 127).permute(1, 0)
    torch.testing.assert_close(resize_rel_pos(table, 127), expected)


def test_patch_projection_stays_on_its_device():
    """A state dict on another device than the CPU; meta stands for any."""
    resized = resize_patch_projection(torch.empty(8, 3, 14, 14, device='meta'), 16)
    assert resized.device.type == 'meta' and resized.shape == (8, 3, 16, 16)


@pytest.mark.parametrize(('old', 'new'), [(14, 16), (16, 14), (16, 8), (4, 16)])
def test_patch_projection_as_timm(old, new):
    from timm.layers.patch_embed import resample_patch_embed

    weight = torch.randn(8, 3, old, old)
    resized = resize_patch_projection(weight, new)
    torch.testing.assert_close(
        resized, resample_patch_embed(weight, [new, new]), rtol=1e-3, atol=1e-3
    )


def test_enlarged_patches_give_the_old_tokens():
    """What PI-resize is for: the tokens of enlarged patches equal those of the patches."""
    weight, patches = torch.randn(8, 3, 14, 14), torch.randn(5, 3, 14, 14)
    enlarged = F.interpolate(patches, size=(16, 16), mode='bicubic', antialias=True)
    tokens = F.conv2d(enlarged, resize_patch_projection(weight, 16))
    torch.testing.assert_close(tokens, F.conv2d(patches, weight), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('channels', [1, 2, 4, 12])
def test_channels_as_timm(channels):
    from timm.models import adapt_input_conv

    weight = torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(
        resize_channels(weight, channels), adapt_input_conv(channels, weight)
    )


@pytest.mark.parametrize(('old', 'new'), [(3, 1), (1, 3), (3, 12)])
def test_grey_images_keep_their_tokens(old, new):
    weight, grey = torch.randn(8, old, 4, 4), torch.randn(2, 1, 4, 4)
    before = F.conv2d(grey.expand(-1, old, -1, -1), weight)
    after = F.conv2d(grey.expand(-1, new, -1, -1), resize_channels(weight, new))
    torch.testing.assert_close(after, before)


def test_unknown_bands_are_refused():
    with pytest.raises(ValueError, match=r'12 channels.*in_channels=12'):
        resize_channels(torch.zeros(8, 12, 4, 4), 3)
