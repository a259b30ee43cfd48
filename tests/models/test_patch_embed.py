"""Patches against the official einsum, embedding against the convolution it stands for."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mae_plugin.geometry import patch_grid
from mae_plugin.models.patch_embed import PatchEmbed, patchify, unpatchify

shapes = dict(
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    p=st.integers(1, 6),
    channels=st.sampled_from([1, 3, 12]),
)


def official_patchify(images, p):
    """models_mae.py, patchify, with the grid's sides told apart."""
    n, c, height, width = images.shape
    h, w = height // p, width // p
    x = images.reshape(n, c, h, p, w, p)
    x = torch.einsum('nchpwq->nhwpqc', x)
    return x.reshape(n, h * w, p**2 * c)


@settings(max_examples=40, deadline=None)
@given(**shapes)
def test_patchify_is_the_official_order_and_can_be_undone(h, w, p, channels):
    images = torch.randn(2, channels, h * p, w * p)
    patches = patchify(images, p)
    assert torch.equal(patches, official_patchify(images, p))
    assert torch.equal(unpatchify(patches, p, (h, w)), images)


@settings(max_examples=40, deadline=None)
@given(**shapes, data=st.data())
def test_chosen_patches_are_gathered(h, w, p, channels, data):
    images = torch.randn(2, channels, h * p, w * p)
    count = data.draw(st.integers(1, h * w))
    ids = torch.stack([torch.randperm(h * w)[:count] for _ in range(2)])
    everything = official_patchify(images, p)
    expected = everything.gather(1, ids[:, :, None].expand(-1, -1, everything.shape[2]))
    assert torch.equal(patchify(images, p, ids), expected)

    embed = PatchEmbed(p, channels, 7)
    convolved = F.conv2d(images, embed.proj.weight, embed.proj.bias, stride=p)
    convolved = convolved.flatten(2).transpose(1, 2)
    torch.testing.assert_close(embed(images), convolved, rtol=1e-4, atol=1e-5)
    expected = convolved.gather(1, ids[:, :, None].expand(-1, -1, 7))
    torch.testing.assert_close(embed(images, ids), expected, rtol=1e-4, atol=1e-5)


def test_channels_last_images_give_the_same():
    images = torch.randn(2, 3, 8, 12)
    embed = PatchEmbed(4, 3, 5)
    again = embed(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(embed(images), again)


def test_initialisation_is_xavier_as_a_linear_layer():
    torch.manual_seed(0)
    embed = PatchEmbed(16, 3, 768)
    default_bias = embed.proj.bias.clone()
    embed.init_weights()
    bound = (6 / (16 * 16 * 3 + 768)) ** 0.5
    weight = embed.proj.weight
    assert 0.99 * bound < weight.abs().max() <= bound
    assert abs(weight.std() / (bound / 3**0.5) - 1) < 0.01
    # The official code leaves the convolution's own bias alone.
    assert torch.equal(embed.proj.bias, default_bias) and default_bias.any()


@pytest.mark.parametrize(
    'size, patch_size, message',
    [
        ((12, 64), 16, r'12x64 is smaller than one patch of 16x16.*`size`'),
        ((64, 15), 16, r'64x15 is smaller than one patch'),
        ((100, 64), 16, r'100x64 is not divisible by patch_size=16.*\(96, 64\)'),
        ((224, 224), 15, r'224x224 is not divisible by patch_size=15'),
    ],
)
def test_sizes_that_do_not_fit_are_named(size, patch_size, message):
    with pytest.raises(ValueError, match=message):
        patch_grid(size, patch_size)
    with pytest.raises(ValueError, match=message):
        patchify(torch.zeros(1, 3, *size), patch_size)


def test_channels_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match='images have 4 channels, the model takes 3'):
        PatchEmbed(4, 3, 8)(torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize('shape', [(1, 5, 12), (1, 6, 13)])
def test_unpatchify_names_what_does_not_fit(shape):
    with pytest.raises(ValueError, match=r'grid of 2x3 with patch_size=2'):
        unpatchify(torch.zeros(shape), 2, (2, 3))
