"""Attention of the class token and PCA of features, against explicit computations."""

import numpy as np
import pytest
import torch

from mae_plugin.models import ViT
from mae_plugin.visualization.attention import attention_panels, class_attention
from mae_plugin.visualization.features import feature_panels, pca_colours
from mae_plugin.visualization.reconstruction import GAP


@pytest.fixture
def vit():
    torch.manual_seed(0)
    vit = ViT(dict(embed_dims=16, num_layers=3, num_heads=4), img_size=16, patch_size=8)
    vit.init_weights()
    return vit.eval()


@pytest.mark.parametrize('block', [0, 1, -1])
def test_attention_is_the_softmax_of_the_blocks_queries_and_keys(vit, block):
    images = torch.randn(2, 3, 24, 16)
    found = class_attention(vit, images, block)
    assert found.shape == (2, 4, 3, 2)
    index = block % 3
    x = []
    handle = vit.blocks[index].norm1.register_forward_hook(lambda *call: x.append(call[-1]))
    vit(images)
    handle.remove()
    qkv = torch.nn.functional.linear(x[0], *vit.blocks[index].attn.qkv.parameters())
    for head in range(4):
        q, k = (qkv[..., part * 16 + head * 4 :][..., :4] for part in (0, 1))
        weights = (q @ k.transpose(1, 2) / 2.0).softmax(-1)[:, 0, 1:]
        torch.testing.assert_close(found[:, head], weights.reshape(2, 3, 2))


def test_attention_of_a_rotary_trunk_with_registers():
    """Put together with the values it is what the fused kernel gave the class token."""
    torch.manual_seed(0)
    vit = ViT(
        dict(embed_dims=16, num_layers=2, num_heads=4), 16, 8, num_cls_tokens=2,
        num_register_tokens=3, positions=dict(type='RotaryPositions'),
    ).eval()  # fmt: skip
    vit.init_weights()
    images, caught = torch.randn(2, 3, 24, 16), {}
    attn = vit.blocks[-1].attn
    attn.qkv.register_forward_hook(lambda *call: caught.update(qkv=call[-1]))
    attn.proj.register_forward_pre_hook(lambda _, inputs: caught.update(out=inputs[0]))
    found = class_attention(vit, images).flatten(2)
    q, k, v = caught['qkv'].unflatten(2, (3, 4, 4)).permute(2, 0, 3, 1, 4)
    # Prefix tokens do not turn, so their shares of what is left are known.
    prefix = (q[:, :, :1] @ k[:, :, :5].mT / 2.0).softmax(-1)[:, :, 0]
    weights = torch.cat([prefix * (1 - found.sum(-1, keepdim=True)), found], dim=-1)
    out = (weights[:, :, None] @ v).flatten(1)
    torch.testing.assert_close(out, caught['out'][:, 0])


def test_attention_changes_nothing_in_the_encoder(vit):
    images = torch.randn(1, 3, 16, 16)
    before = vit(images)
    class_attention(vit, images)
    assert torch.equal(vit(images), before)
    assert not vit.blocks[-1].attn.qkv._forward_hooks


def test_what_has_no_class_token_or_block_is_refused(vit):
    with pytest.raises(ValueError, match='block=3'):
        class_attention(vit, torch.randn(1, 3, 16, 16), 3)
    without = ViT(dict(embed_dims=16, num_layers=1, num_heads=2), 16, 8, with_cls_token=False)
    with pytest.raises(ValueError, match='class token'):
        class_attention(without, torch.randn(1, 3, 16, 16))


def test_attention_is_bright_where_it_is_strong():
    attention = torch.zeros(1, 2, 2, 2)
    attention[0, :, 0, 1] = 0.5
    black = np.zeros((1, 16, 16, 3), np.uint8)
    picture = attention_panels(black, attention, heads=True)
    assert picture.shape == (16, 4 * (16 + GAP) - GAP, 3)
    mean = picture[:, 16 + GAP :][:, :16].astype(int).sum(2)
    assert mean[:8, 8:].min() > mean[8:].max()


def test_colours_are_the_principal_components_of_all_images_together():
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([9.0, 5.0, 3.0] + [0.1] * 5)
    features = torch.randn(2, 6, 5, 8, generator=generator) * scale
    colours = pca_colours(features)
    assert [each.shape for each in colours] == [(6, 5, 3)] * 2
    everything = torch.stack(colours)
    assert everything.min() == 0 and everything.max() == 1
    flat = features.flatten(0, 2)
    scores = torch.pca_lowrank(flat.double(), 3, niter=20)[0]
    for channel in range(3):
        pair = torch.stack([everything[..., channel].flatten().double(), scores[:, channel]])
        assert torch.corrcoef(pair)[0, 1].abs() > 0.99
    # Cut into images of other sizes, patches keep their colours.
    apart = pca_colours([features[0], features[1, :4], features[1, 4:]])
    assert torch.equal(torch.cat(apart), everything.flatten(0, 1))


def test_feature_picture_has_a_row_for_each_image_and_needs_patches():
    torch.manual_seed(0)
    images = [np.zeros((16, 24, 3), np.uint8), np.zeros((24, 16, 3), np.uint8)]
    picture = feature_panels(images, [torch.randn(2, 3, 8), torch.randn(3, 2, 8)])
    assert picture.shape == (16 + GAP + 24, 2 * 24 + GAP, 3)
    # Each patch is a square of one colour, at its place.
    patch = picture[16 + GAP + 8 :, 16 + GAP + 8 :][:8, :8]
    assert (patch == patch[0, 0]).all() and patch[0, 0].any()
    with pytest.raises(ValueError, match='2 patches'):
        pca_colours(torch.randn(1, 1, 2, 8))
