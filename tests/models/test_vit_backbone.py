"""The dense backbone against mmpretrain's and timm's ViTs on the same weights."""

import copy

import numpy
import pytest
import timm
import torch
from bias_matrix import attention_with_bias_matrix
from mmpretrain.models import VisionTransformer as MMPretrainViT
from mmpretrain.models import ViTSAM
from torch import nn

from mae_plugin.compat import TORCH
from mae_plugin.errors import UserError
from mae_plugin.models import ViT, ViTBackbone
from mae_plugin.models.dense import dense_attention

ARCH = dict(embed_dims=48, num_layers=4, num_heads=3)
PEER_ARCH = dict(embed_dims=48, num_layers=4, num_heads=3, feedforward_channels=192)
ALL = (0, 1, 2, 3)

# Ours -> mmpretrain's.
MMPRETRAIN_NAMES = [
    ('patch_embed.proj', 'patch_embed.projection'),
    ('blocks.', 'layers.'),
    ('.norm', '.ln'),
    ('mlp.fc1', 'ffn.layers.0.0'),
    ('mlp.fc2', 'ffn.layers.1'),
    ('gamma_1', 'attn.gamma1.weight'),
    ('gamma_2', 'ffn.gamma2.weight'),
]


def backbone(arch=ARCH, **kwargs):
    """A backbone with random values in all parameters, biases and positions included."""
    torch.manual_seed(0)
    model = ViTBackbone(arch, **kwargs)
    model.init_weights()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or 'pos' in name:
            nn.init.normal_(parameter, mean=float(name.endswith('norm.weight')), std=0.3)
    return model.eval()


def rename(state_dict, names=MMPRETRAIN_NAMES):
    renamed = {}
    for key, value in state_dict.items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        renamed[key] = value
    return renamed


def assert_equal_maps(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def compare_to_mmpretrain(model, arch, images, indices):
    peer = MMPretrainViT(
        arch, img_size=224, out_indices=list(indices), out_type='featmap', final_norm=False,
        norm_cfg=dict(type='LN', eps=1e-6),
    )  # fmt: skip
    peer.eval()
    peer.load_state_dict(rename(model.state_dict()))
    with torch.no_grad():
        assert_equal_maps(model(images), peer(images))


@pytest.mark.parametrize('size', [(224, 224), (160, 288)])
def test_equals_mmpretrain(size):
    model = backbone(out_indices=ALL)
    compare_to_mmpretrain(model, PEER_ARCH, torch.randn(2, 3, *size), ALL)


def test_a_block_named_twice_gives_two_maps():
    images = torch.randn(1, 3, 64, 64)
    single = backbone(img_size=64, out_indices=ALL)(images)
    assert_equal_maps(
        backbone(img_size=64, out_indices=(0, 2, 2, -1, 3))(images),
        [single[index] for index in (0, 2, 2, 3, 3)],
    )


@pytest.mark.slow
@pytest.mark.parametrize('size', [(224, 224), (96, 160)])
def test_vit_b_equals_mmpretrain(size):
    model = backbone('base', out_indices=(3, 5, 7, 11))
    compare_to_mmpretrain(model, 'base', torch.randn(1, 3, *size), (3, 5, 7, 11))


@pytest.mark.parametrize('size', [(224, 224), (160, 288)])
def test_equals_timm(size):
    """timm resizes positions antialiased, so each size gets its own there, resized by us."""
    model = backbone(final_norm=True, with_cls_token=True)
    peer = timm.models.VisionTransformer(
        img_size=size, embed_dim=48, depth=4, num_heads=3, num_classes=0
    ).eval()
    state_dict = model.state_dict()
    grid = (size[0] // 16, size[1] // 16)
    state_dict['pos_embed'] = torch.cat(
        [model.pos_embed[:, :1], model.positions.rows(model.pos_embed, grid)], dim=1
    )
    peer.load_state_dict(state_dict)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        tokens = peer.forward_features(images)[:, 1:]
        assert_equal_maps(model(images), [tokens.transpose(1, 2).unflatten(2, grid)])


@pytest.mark.parametrize('size', [(112, 112), (80, 144), (48, 32)])
def test_windows_and_relative_positions_equal_vitsam(size):
    """Forward and backward, with windows that need padding and tables that need resizing."""
    model = backbone(
        img_size=112, out_indices=ALL, window_size=4, global_attn_indexes=(1, -1),
        rel_pos_img_size=112, with_cls_token=False,
    )  # fmt: skip
    peer = ViTSAM(
        PEER_ARCH | dict(global_attn_indexes=(1, 3)), img_size=112, out_channels=0,
        out_indices=list(ALL), window_size=4,
    )  # fmt: skip
    peer.eval()
    state_dict = rename(model.state_dict())
    state_dict['pos_embed'] = state_dict['pos_embed'].reshape(1, 7, 7, -1)
    peer.load_state_dict(state_dict)
    images = torch.randn(2, 3, *size)
    ours, theirs = model(images), peer(images)
    assert_equal_maps(ours, theirs)

    for maps in (ours, theirs):
        sum((level * level.detach().roll(1, 2)).mean() for level in maps).backward()
    theirs = dict(peer.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            peer_grad = theirs[rename({name: 0}).popitem()[0]].grad
            torch.testing.assert_close(parameter.grad, peer_grad, rtol=1e-3, atol=1e-5)


def test_class_token_beside_relative_positions(monkeypatch):
    """The token has no position: the fused path equals the explicit one with it too."""
    model = backbone(img_size=64, rel_pos_img_size=96, layer_scale_init=1.0)
    images = torch.randn(2, 3, 96, 64)
    found = model(images)
    monkeypatch.setattr(dense_attention, 'attention_with_positions', attention_with_bias_matrix)
    assert_equal_maps(found, model(images))


def test_layer_scale_equals_mmpretrain():
    model = backbone(layer_scale_init=1.0)
    peer = MMPretrainViT(
        PEER_ARCH, img_size=224, out_type='featmap', final_norm=False,
        layer_scale_init_value=1.0, norm_cfg=dict(type='LN', eps=1e-6),
    )  # fmt: skip
    peer.eval()
    peer.load_state_dict(rename(model.state_dict()))
    images = torch.randn(1, 3, 64, 64)
    assert_equal_maps(model(images), peer(images))


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_layer_depths_follow_mmpretrains_protocol(prefix):
    model = backbone(img_size=64, layer_scale_init=1.0, final_norm=True)
    peer = MMPretrainViT(PEER_ARCH, img_size=64)
    for name in [prefix + name for name, _ in model.named_parameters()] + ['head.fc.weight']:
        (own,) = rename({name.removeprefix(prefix): 0})
        peers_name = prefix + own if name.startswith(prefix) else name
        expected = peer.get_layer_depth(peers_name, prefix)
        assert model.get_layer_depth(name, prefix) == expected, name
    # Of something beside the backbone.
    for name in ('pos_embed', 'blocks.0.norm1.weight'):
        assert model.get_layer_depth(name, 'backbone.') == peer.get_layer_depth(name, 'backbone.')


def test_sizes_that_are_no_multiple_of_the_patch_are_padded():
    model = backbone(img_size=64)
    images = torch.randn(2, 3, 50, 75)
    padded = torch.zeros(2, 3, 64, 80)
    padded[:, :, :50, :75] = images
    assert_equal_maps(model(images), model(padded))
    assert model(images)[0].shape == (2, 48, 4, 5)


def test_maps_are_contiguous():
    """RoIAlign of mmcv reads channels-last maps as if they were not."""
    images = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    assert all(level.is_contiguous() for level in backbone(img_size=64, out_indices=ALL)(images))


def test_pretrained_encoder_keeps_its_features():
    """Without windows the backbone is the trunk; its zero relative positions change nothing."""
    torch.manual_seed(0)
    trunk = ViT(ARCH, img_size=64, final_norm=False)
    trunk.init_weights()
    model = ViTBackbone(ARCH, img_size=64, rel_pos_img_size=64)
    missing = set(model.state_dict()) - set(trunk.state_dict())
    assert missing == {f'blocks.{i}.attn.rel_pos_{axis}' for i in range(4) for axis in 'hw'}
    model.load_state_dict(model.state_dict() | trunk.state_dict())
    images = torch.randn(2, 3, 64, 64)
    tokens = trunk(images)[:, 1:]
    assert_equal_maps(model(images), [tokens.transpose(1, 2).unflatten(2, (4, 4))])


def test_activation_checkpointing_changes_no_gradient():
    plain = backbone(img_size=64, window_size=3, with_cls_token=False, rel_pos_img_size=64)
    saving = copy.deepcopy(plain)
    saving.use_checkpoint = True
    images = torch.randn(1, 3, 80, 64)
    for model in (plain.train(), saving.train()):
        model(images)[0].square().mean().backward()
    for name, parameter in plain.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, saving.get_parameter(name).grad)


def test_drop_path_acts_in_training_alone():
    model = backbone(img_size=64, drop_path_rate=0.9)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(images)[0], model(images)[0])
    model.train()
    assert len({model(images)[0].sum().item() for _ in range(8)}) > 1


@pytest.mark.parametrize(
    ('frozen_stages', 'frozen_blocks'), [(-1, 0), (0, 0), (2, 2), (3.5, 3), (4, 4)]
)
def test_frozen_stages(frozen_stages, frozen_blocks):
    model = backbone(
        img_size=64, frozen_stages=frozen_stages, train_pos_embed=True, final_norm=True,
        rel_pos_img_size=64, drop_path_rate=0.5,
    ).train()  # fmt: skip
    out = model(torch.randn(1, 3, 64, 64))[0]
    assert out.requires_grad == (frozen_stages < 4)
    if out.requires_grad:
        out.square().mean().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    expected = {name for name, _ in model.named_parameters()}
    if frozen_stages >= 0:
        expected -= {n for n in expected if n.startswith(('patch_embed', 'cls', 'pos_embed'))}
    expected -= {n for n in expected for i in range(frozen_blocks) if f'blocks.{i}.' in n}
    if frozen_stages == 3.5:
        expected -= {n for n in expected if n.startswith(('blocks.3.norm1', 'blocks.3.attn'))}
        assert {n for n in expected if 'blocks.3' in n and 'mlp' in n}
    if frozen_stages == 4:
        expected = set()
    assert trained == expected
    # A frozen block drops no paths.
    assert not any(block.training for block in model.blocks[:frozen_blocks])


def test_trained_positions_get_gradients_at_every_size():
    model = backbone(img_size=64, train_pos_embed=True)
    for side in (64, 96):
        model.zero_grad()
        model(torch.randn(1, 3, side, side))[0].square().mean().backward()
        assert model.pos_embed.grad.abs().sum() > 0


HALF = pytest.param(
    torch.float16,
    marks=pytest.mark.skipif(TORCH < (2, 4), reason='older torch has bfloat16 alone on a CPU'),
)


@pytest.mark.parametrize('dtype', [torch.bfloat16, HALF])
def test_autocast_keeps_the_values(dtype):
    model = backbone(img_size=64, window_size=3, with_cls_token=False, rel_pos_img_size=64)
    images = torch.randn(1, 3, 80, 64)
    expected = model(images)[0]
    with torch.autocast('cpu', dtype):
        (found,) = model(images)
    assert (found - expected).norm() / expected.norm() < 0.05


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(out_indices=(0, 4)), r'out_indices=\(0, 4\): \[4\] name no block of 4'),
        (dict(window_size=4, global_attn_indexes=(9,), with_cls_token=False), 'global_attn'),
        (dict(window_size=4), 'no place for a class token'),
        (dict(inchannels=6), 'ViTBackbone has no argument inchannels: .*arch, .*in_channels, '),
        (dict(rel_pos_img_size=100), '100x100 is not divisible by patch_size=16'),
        (dict(out_indices={1: 1}), r'out_indices=\{1: 1\}: give numbers of blocks'),
        (dict(out_indices='1'), "out_indices='1': give numbers"),
        (dict(out_indices=1.0), 'out_indices=1.0: give numbers'),
        (dict(out_indices=(1.0, 2)), r'out_indices=\(1.0, 2\): give numbers'),
        (dict(out_indices=()), 'out_indices is empty'),
        (dict(img_size=64.0), 'img_size=64.0: give a whole number'),
        (dict(img_size=(64, 64, 3)), r'img_size=\(64, 64, 3\): give one side, or \(height'),
        (dict(img_size='64'), "img_size='64': give a whole number"),
        (dict(rel_pos_img_size=64.0), 'rel_pos_img_size=64.0: give a whole number'),
        (dict(patch_size=16.0), 'patch_size=16.0: give a whole number'),
        (dict(window_size=4.0, with_cls_token=False), 'window_size=4.0: give a whole number'),
        (dict(patch_size=0), 'patch_size=0: give a whole number, 1 or more'),
        (dict(in_channels=3.0), 'in_channels=3.0: give a whole number'),
    ],
)
def test_wrong_settings_are_told(settings, message):
    with pytest.raises(UserError, match=message):
        ViTBackbone(ARCH, **dict(img_size=64) | settings)


@pytest.mark.parametrize('img_size', [64, (64,), [64], (64, 64), numpy.int64(64)])
def test_square_sizes_of_all_kinds(img_size):
    """mmseg's backbones take (64,) too."""
    assert ViTBackbone(ARCH, img_size=img_size).grid == (4, 4)


@pytest.mark.parametrize('out_indices', [1, (0, 1), numpy.int64(1), range(2), {0, 1}, (-1,)])
@pytest.mark.parametrize('final_norm', [False, True])
def test_what_is_trained_gets_a_gradient(out_indices, final_norm):
    """Else DistributedDataParallel stops at the second step."""
    model = backbone(
        img_size=64, out_indices=out_indices, final_norm=final_norm, train_pos_embed=True,
        rel_pos_img_size=64, layer_scale_init=1.0,
    ).train()  # fmt: skip
    sum(level.square().mean() for level in model(torch.randn(1, 3, 64, 64))).backward()
    unused = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not unused
    # And no more is frozen than must be.
    assert all(p.requires_grad for p in model.blocks[: model.out_indices[-1] + 1].parameters())
