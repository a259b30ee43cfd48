"""Rotary positions against complex numbers, under masking too; how tables are resized."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from mae_plugin.errors import UserError
from mae_plugin.geometry import RESIZES, bicubic_weights, resize_pos_embed
from mae_plugin.models import MAE, RotaryPositions, ViT, ViTBackbone
from mae_plugin.models.block import Attention
from mae_plugin.models.positions import rotate

ARCH = dict(embed_dims=24, num_layers=2, num_heads=3)
ROTARY = dict(positions=dict(type='RotaryPositions'), num_register_tokens=2)
SHAPE = dict(img_size=(8, 12), patch_size=4)
HEAD = 8


def turned(x, row, column, grid, base=100.0):
    """A head's vector (8,) as four complex numbers, turned: two by the row, two by the column."""
    pairs = torch.complex(x[: HEAD // 2], x[HEAD // 2 :])
    angles = []
    for index, length in ((row, grid[0]), (column, grid[1])):
        coordinate = 2 * (index + 0.5) / length - 1
        angles += [2 * math.pi * coordinate / base ** (i / 2) for i in range(2)]
    pairs = pairs * torch.polar(torch.ones(4), torch.tensor(angles))
    return torch.cat([pairs.real, pairs.imag])


@pytest.mark.parametrize('grid', [(3, 3), (2, 5)])
def test_rotations_are_those_of_complex_numbers(grid):
    positions = RotaryPositions(24, 3)
    h, w = grid
    ids = torch.stack([torch.randperm(h * w)[:4] for _ in range(2)])
    x = torch.randn(2, 3, 1 + 4, HEAD)
    found = rotate(x, positions.for_attention(grid, ids, 1)['rotations'])
    assert torch.equal(found[:, :, 0], x[:, :, 0])  # the prefix token stays
    for image in range(2):
        for head in range(3):
            for place in range(4):
                row, column = divmod(int(ids[image, place]), w)
                expected = turned(x[image, head, 1 + place], row, column, grid)
                torch.testing.assert_close(found[image, head, 1 + place], expected)


def test_masked_encoding_turns_patches_by_where_they_stood():
    """The kept patches of an image, in shuffled order, are what attention among them gives."""
    torch.manual_seed(0)
    vit = ViT(ARCH, **SHAPE, **ROTARY)
    vit.init_weights()
    vit.eval()
    images = torch.randn(2, 3, 8, 12)
    ids = torch.stack([torch.randperm(6) for _ in range(2)])
    whole = vit(images)
    expected = whole[:, 3:].gather(1, ids[:, :, None].expand(-1, -1, 24))
    torch.testing.assert_close(vit(images, ids)[:, 3:], expected, rtol=1e-4, atol=1e-5)
    # Attention from kept tokens to removed ones, taken away from the whole image.
    kept = ids[:, :3]
    seen = torch.zeros(2, 9, dtype=torch.bool)
    seen[:, :3] = True
    seen.scatter_(1, 3 + kept, True)
    reference = copy.deepcopy(vit)
    for block in reference.blocks:
        block.attn = SeesOnly(block.attn, seen)
    expected = reference(images)[:, 3:].gather(1, kept[:, :, None].expand(-1, -1, 24))
    torch.testing.assert_close(vit(images, kept)[:, 3:], expected, rtol=1e-4, atol=1e-5)


class SeesOnly(torch.nn.Module):
    """Attention over all tokens with a mask for the keys, written out."""

    def __init__(self, attn, seen):
        super().__init__()
        self.attn, self.seen = attn, seen

    def forward(self, x, rotations):
        q, k, v = self.attn.qkv(x).unflatten(2, (3, 3, HEAD)).permute(2, 0, 3, 1, 4)
        logits = rotate(q, rotations) @ rotate(k, rotations).mT * HEAD**-0.5
        logits = logits.masked_fill(~self.seen[:, None, None], -torch.inf)
        return self.attn.proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize('encoder_mask_tokens', [False, True])
def test_a_mae_is_trained_on_a_rotary_trunk(encoder_mask_tokens):
    torch.manual_seed(0)
    arch = dict(ARCH, mlp='swiglu', key_bias=False, layer_scale_init=0.1)
    model = MAE(
        backbone=dict(type='ViT', arch=arch, **SHAPE, **ROTARY),
        decoder=dict(
            type='MAEDecoder', embed_dims=16, depth=1, num_heads=2,
            with_mask_token=not encoder_mask_tokens,
        ),
        head=dict(type='ReconstructionHead', target=dict(type='PixelTarget')),
        encoder_mask_tokens=encoder_mask_tokens,
    )  # fmt: skip
    model.init_weights()
    model(torch.randn(4, 3, 8, 12), mode='loss')['loss'].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    bias = model.backbone.blocks[0].attn.qkv.bias.grad.chunk(3)
    assert bias[0].any() and not bias[1].any() and bias[2].any()


def test_key_bias_is_held_at_zero():
    attn, masked = Attention(24, 3), Attention(24, 3, key_bias=False)
    masked.load_state_dict(attn.state_dict())
    torch.nn.init.normal_(masked.qkv.bias)
    attn.qkv.bias.data = masked.qkv.bias.detach().clone()
    attn.qkv.bias.data[24:48] = 0
    x, turns = torch.randn(2, 7, 24), RotaryPositions(24, 3).for_attention((2, 3), None, 1)
    torch.testing.assert_close(masked(x, **turns), attn(x, **turns))


def test_last_queries_turn_by_their_own_positions():
    attn = Attention(24, 3)
    x, turns = torch.randn(2, 7, 24), RotaryPositions(24, 3).for_attention((2, 3), None, 1)
    torch.testing.assert_close(attn(x, queries=2, **turns), attn(x, **turns)[:, -2:])


def test_how_tables_are_resized():
    table, (h, w) = torch.randn(1, 2 + 12, 8), (3, 4)
    patches = table[:, 2:].reshape(1, h, w, 8).permute(0, 3, 1, 2)
    expected = {
        'bicubic': F.interpolate(patches, size=(5, 2), mode='bicubic'),
        'bicubic-antialias': F.interpolate(patches, size=(5, 2), mode='bicubic', antialias=True),
        'bicubic-offset': F.interpolate(
            patches, scale_factor=((5 + 0.1) / 3, (2 + 0.1) / 4), mode='bicubic'
        ),
    }
    assert set(expected) == set(RESIZES)
    for how, rows in expected.items():
        found = resize_pos_embed(table, (h, w), (5, 2), 2, how)
        torch.testing.assert_close(found[:, 2:], rows.flatten(2).mT)
        assert torch.equal(found[:, :2], table[:, :2])
        assert resize_pos_embed(table, (h, w), (h, w), 2, how) is table
    with pytest.raises(UserError, match="resize='nearest': choose one of bicubic, "):
        resize_pos_embed(table, (h, w), (5, 2), 2, 'nearest')


@pytest.mark.parametrize('sides', [(3, 5), (7, 4), (16, 6), (5, 5)])
def test_weights_of_exported_programs_are_those_of_interpolate(sides):
    source, target = sides
    x = torch.randn(1, 8, source, 4)
    for offset, smooth in ((0.0, True), (0.0, False), (0.1, False)):
        if offset:
            how = dict(scale_factor=((target + offset) / source, 1.0))
        else:
            how = dict(size=(target, 4), antialias=smooth)
        expected = F.interpolate(x, mode='bicubic', **how)
        weights = bicubic_weights(source, target, offset, smooth)
        torch.testing.assert_close(weights @ x[0, :, :, 0].T, expected[0, :, :, 0].T)


def test_refusals():
    with pytest.raises(UserError, match='rotary positions: no family was trained so'):
        ViTBackbone(ARCH, **SHAPE, **ROTARY, window_size=2)
    parts = dict(
        decoder=dict(type='MAEDecoder', embed_dims=16, depth=1, num_heads=2),
        head=dict(type='ReconstructionHead', target=dict(type='PixelTarget')),
    )
    backbone = dict(type='ViTBackbone', arch=ARCH, **SHAPE, rel_pos_img_size=8)
    with pytest.raises(UserError, match='a MAE leaves patches out, which windows, relative pos'):
        MAE(backbone=backbone, **parts)
    with pytest.raises(UserError, match='multiple of 4, not 6'):
        RotaryPositions(24, 4)
    with pytest.raises(UserError, match="mlp='relu': choose one of gelu, swiglu"):
        ViT(dict(ARCH, mlp='relu'), **SHAPE)
