"""Pyramids against the layers that the papers' code writes out."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmcv.ops import roi_align
from mmseg.models.necks import Feature2Pyramid
from torch import nn

from mae_plugin.models import BlockGroupPyramid, LayerNorm2d, SimpleFeaturePyramid

WIDTH = 16


def detectron2_norm(x, norm):
    """LayerNorm of detectron2/layers/batch_norm.py, written as there."""
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + 1e-6)
    return norm.weight[:, None, None] * x + norm.bias[:, None, None]


def detectron2_pyramid(x, neck):
    """SimpleFeaturePyramid of detectron2/modeling/backbone/vit.py on the neck's weights."""
    outs = []
    for level, scale in zip(neck.levels, (4, 2, 1, 0.5)):
        y, resize = x, level[0]
        if scale == 4:
            y = F.conv_transpose2d(y, resize[0].weight, resize[0].bias, stride=2)
            y = F.gelu(detectron2_norm(y, resize[1]))
            y = F.conv_transpose2d(y, resize[3].weight, resize[3].bias, stride=2)
        elif scale == 2:
            y = F.conv_transpose2d(y, resize.weight, resize.bias, stride=2)
        elif scale == 0.5:
            y = F.max_pool2d(y, 2, 2)
        y = detectron2_norm(F.conv2d(y, level[1].weight), level[2])
        outs.append(detectron2_norm(F.conv2d(y, level[3].weight, padding=1), level[4]))
    return [*outs, F.max_pool2d(outs[-1], 1, 2, 0)]


def random_norms(module):
    for norm in module.modules():
        if isinstance(norm, LayerNorm2d | nn.BatchNorm2d):
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.3)
    return module


def test_simple_pyramid_equals_detectron2():
    neck = random_norms(SimpleFeaturePyramid(WIDTH, 8))
    maps = [torch.randn(2, WIDTH, 6, 4) for _ in range(2)]
    outs = neck(maps)
    assert [out.shape[-2:] for out in outs] == [(24, 16), (12, 8), (6, 4), (3, 2), (2, 1)]
    for out, expected in zip(outs, detectron2_pyramid(maps[-1], neck)):
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_simple_pyramid_has_no_conv_biases_beside_norms():
    names = [n for n, _ in SimpleFeaturePyramid(WIDTH, 8).named_parameters() if 'bias' in n]
    # Norms of four levels, one norm and three transposed convolutions of the scales 4 and 2.
    assert len(names) == 2 * 4 + 1 + 3


def test_roi_align_reads_the_maps_right():
    """mmcv's kernel ignores strides: what reaches it must be contiguous."""
    neck = SimpleFeaturePyramid(WIDTH, 8)
    rois = torch.tensor([[0, 1.0, 2.0, 9.0, 13.0]])
    channels_last = torch.randn(1, WIDTH, 6, 4).to(memory_format=torch.channels_last)
    for source in (channels_last, channels_last.contiguous()):
        for out in neck([source]):
            copied = torch.tensor(out.tolist())
            found = roi_align(out, rois, (3, 3), 0.5, 0, 'avg', True)
            torch.testing.assert_close(found, roi_align(copied, rois, (3, 3), 0.5, 0, 'avg', True))


@pytest.mark.parametrize('grid', [(1, 1), (5, 3), (1, 7)])
def test_maps_of_any_size(grid):
    h, w = grid
    outs = SimpleFeaturePyramid(WIDTH, 8)([torch.randn(1, WIDTH, h, w)])
    expected = [(4 * h, 4 * w), (2 * h, 2 * w), (h, w), (-(-h // 2), -(-w // 2))]
    assert [tuple(out.shape[-2:]) for out in outs[:4]] == expected
    assert all(out.isfinite().all() and out.numel() for out in outs)


def test_other_scales_and_outputs():
    neck = SimpleFeaturePyramid(WIDTH, 8, scales=(2, 1, 0.5), num_outs=4)
    assert [out.shape[-1] for out in neck([torch.randn(1, WIDTH, 8, 8)])] == [16, 8, 4, 2]


def test_block_group_pyramid_equals_mmseg():
    """mmseg's Feature2Pyramid stems from the same code."""
    ours = random_norms(BlockGroupPyramid(WIDTH))
    theirs = Feature2Pyramid(WIDTH, norm_cfg=dict(type='BN'))
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values())))
    maps = [torch.randn(2, WIDTH, 6, 4) for _ in range(4)]
    for out, expected in zip(ours(maps), theirs(maps)):
        torch.testing.assert_close(out, expected)


def test_layer_norm_serves_as_norm_cfg():
    layer = ConvModule(4, 8, 3, norm_cfg=dict(type='mae_plugin.LayerNorm2d', eps=1e-6))
    random_norms(layer)
    x = torch.randn(2, 4, 5, 5)
    expected = F.relu(detectron2_norm(layer.conv(x), layer.norm))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_wrong_settings_are_told():
    with pytest.raises(ValueError, match='scale=3: choose'):
        SimpleFeaturePyramid(WIDTH, scales=(3,))
    with pytest.raises(ValueError, match='num_outs=3 is less than the 4 scales'):
        SimpleFeaturePyramid(WIDTH, num_outs=3)
    with pytest.raises(ValueError, match='1 maps for 4 scales'):
        BlockGroupPyramid(WIDTH)([torch.randn(1, WIDTH, 4, 4)])
    with pytest.raises(
        ValueError, match=r'SimpleFeaturePyramid has in_channels=16, .* are 24 wide'
    ):
        SimpleFeaturePyramid(WIDTH)([torch.randn(1, 24, 4, 4)])
    with pytest.raises(ValueError, match=r'BlockGroupPyramid .*: set neck\.in_channels=24'):
        BlockGroupPyramid(WIDTH, scales=(1,))([torch.randn(1, 24, 4, 4)])
