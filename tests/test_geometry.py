"""Position embeddings against the official numpy code and the official resizing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mae_plugin.geometry import resize_pos_embed, sincos_pos_embed
from mae_plugin.models import MAEDecoder, ViT

sides = st.integers(1, 9)


def official_table(dims, h, w):
    """util/pos_embed.py, for a grid that need not be square: `np.meshgrid(w, h)`, w first."""

    def encode(dims, positions):
        omega = np.arange(dims // 2, dtype=float)
        omega /= dims / 2.0
        omega = 1.0 / 10000**omega
        out = np.einsum('m,d->md', positions.reshape(-1), omega)
        return np.concatenate([np.sin(out), np.cos(out)], axis=1)

    grid = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    grid = np.stack(grid, axis=0).reshape([2, 1, h, w])
    return np.concatenate([encode(dims // 2, grid[0]), encode(dims // 2, grid[1])], axis=1)


@settings(max_examples=40, deadline=None)
@given(h=sides, w=sides, quarter=st.integers(1, 32), prefix=st.integers(0, 2))
def test_equals_the_official_code(h, w, quarter, prefix):
    table = sincos_pos_embed(4 * quarter, (h, w), prefix)
    expected = torch.from_numpy(official_table(4 * quarter, h, w)).float()
    assert table.dtype == torch.float32
    assert table.shape == (1, prefix + h * w, 4 * quarter)
    assert not table[:, :prefix].any()
    torch.testing.assert_close(table[0, prefix:], expected, rtol=0, atol=1e-6)


def test_the_first_half_tells_columns_apart():
    table = sincos_pos_embed(16, (3, 5))[0].reshape(3, 5, 16)
    assert torch.equal(table[0, :, :8], table[2, :, :8])
    assert torch.equal(table[:, 0, 8:], table[:, 4, 8:])


@settings(max_examples=40, deadline=None)
@given(h=sides, w=sides, new_h=sides, new_w=sides, prefix=st.integers(0, 1))
def test_resizing_is_the_official_procedure(h, w, new_h, new_w, prefix):
    torch.manual_seed(0)
    table = torch.randn(1, prefix + h * w, 8)
    resized = resize_pos_embed(table, (h, w), (new_h, new_w), prefix)
    if (h, w) == (new_h, new_w):
        assert resized is table
        return
    # interpolate_pos_embed of the official util/pos_embed.py
    tokens = table[:, prefix:].reshape(-1, h, w, 8).permute(0, 3, 1, 2)
    tokens = F.interpolate(tokens, size=(new_h, new_w), mode='bicubic', align_corners=False)
    tokens = tokens.permute(0, 2, 3, 1).flatten(1, 2)
    assert torch.equal(resized, torch.cat((table[:, :prefix], tokens), dim=1))


def test_resizing_keeps_the_dtype():
    table = sincos_pos_embed(8, (4, 4), 1).half()
    resized = resize_pos_embed(table, (4, 4), (6, 2))
    assert resized.dtype == torch.float16 and resized.shape == (1, 13, 8)


def test_errors_name_the_value():
    with pytest.raises(ValueError, match='multiple of 4, got 6'):
        sincos_pos_embed(6, (2, 2))
    with pytest.raises(ValueError, match=r'pos_embed has 17 rows.*grid of 4x5 make 21'):
        resize_pos_embed(torch.zeros(1, 17, 8), (4, 5), (2, 2))


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_the_encoder_resizes_its_table_for_other_images(with_cls_token):
    torch.manual_seed(0)
    arch = dict(embed_dims=16, num_layers=1, num_heads=2)
    vit = ViT(arch, img_size=(32, 48), patch_size=8, with_cls_token=with_cls_token)
    # A table that nothing could regenerate, as a checkpoint of another project may have.
    vit.pos_embed.data.normal_()
    grid_rows = vit.pos_embed[:, int(with_cls_token) :]
    assert torch.equal(vit.positions.rows(vit.pos_embed, (4, 6)), grid_rows)
    expected = resize_pos_embed(grid_rows, (4, 6), (7, 3), 0)
    assert torch.equal(vit.positions.rows(vit.pos_embed, (7, 3)), expected)
    ids = torch.tensor([[20, 3], [0, 4]])
    assert torch.equal(vit.positions.rows(vit.pos_embed, (7, 3), ids), expected[0][ids])


def test_the_decoder_resizes_its_table_for_other_images():
    decoder = MAEDecoder(16, 16, 1, 2, img_size=(32, 48), patch_size=8)
    decoder.init_weights()
    decoder.pos_embed.data.normal_()
    other = MAEDecoder(16, 16, 1, 2, img_size=(56, 24), patch_size=8)
    weights = decoder.state_dict()
    weights['pos_embed'] = resize_pos_embed(weights['pos_embed'], (4, 6), (7, 3))
    other.load_state_dict(weights)
    tokens, ids = torch.randn(2, 6, 16), torch.randperm(21).expand(2, -1)
    args = tokens, ids[:, :5], ids[:, 5:], (7, 3)
    torch.testing.assert_close(decoder(*args), other(*args))
