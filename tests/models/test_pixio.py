"""Pixio against a plain restatement: 8 class tokens, cells of 4x4, learned positions, 32 blocks.

Everything in raster order and by the published formulas (arXiv 2512.15715, section 3, and the
official MAE code that it starts from): nothing of ours but the parameters.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.datasets.randomness import sample_key
from mae_plugin.errors import UserError
from mae_plugin.geometry import resize_pos_embed
from mae_plugin.models import MAE, MAEDecoder, ViT
from mae_plugin.models.noise import hashed_noise, sample_keys

TOKENS, PATCH, SIDE, GRID, CELL = 8, 4, 64, 16, 4
LEARNED = dict(type='LearnedPositions')


class Sample:
    """As much of a data sample as the masks ask for."""

    def __init__(self, number):
        self.sample_key = sample_key(0, 0, number)


def pixio(decoder_depth=2, use_checkpoint=False, decoder='MAEDecoder', side=SIDE):
    arch = dict(embed_dims=32, num_layers=3, num_heads=4, num_cls_tokens=TOKENS, positions=LEARNED)
    torch.manual_seed(0)
    model = MAE(
        backbone=dict(type='ViT', arch=arch, img_size=side, patch_size=PATCH),
        decoder=dict(
            type=decoder, embed_dims=16, depth=decoder_depth, num_heads=4, positions=LEARNED,
            use_checkpoint=use_checkpoint,
        ),
        head=dict(type='ReconstructionHead'),
        masking=dict(type='CellMasking', cell_size=CELL),
    )  # fmt: skip
    model.init_weights()
    return model


def blur_the_start(model):
    """Zero biases and unit scales would hide some mistakes."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, float(name.endswith('weight')), 0.1)
    return model.double()


def layer_norm(x, weights, name):
    weight, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
    return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-6)


def linear(x, weights, name):
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def block(x, weights, name, heads):
    batch, length, dims = x.shape
    qkv = linear(layer_norm(x, weights, f'{name}.norm1'), weights, f'{name}.attn.qkv')
    qkv = qkv.reshape(batch, length, 3, heads, dims // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    attention = (q @ k.transpose(-2, -1) * (dims // heads) ** -0.5).softmax(dim=-1)
    mixed = (attention @ v).transpose(1, 2).reshape(batch, length, dims)
    x = x + linear(mixed, weights, f'{name}.attn.proj')
    hidden = linear(layer_norm(x, weights, f'{name}.norm2'), weights, f'{name}.mlp.fc1')
    return x + linear(F.gelu(hidden), weights, f'{name}.mlp.fc2')


def published(weights, images, noise, decoder_depth):
    """Loss, predictions (B, L, p·p·3) in raster order, and the mask (B, L), 1 where removed."""
    batch = len(images)
    # Cells: int(16 · 0.25) of them are kept, those of least noise.
    cells = (GRID // CELL) ** 2
    mask = torch.ones(batch, cells, dtype=images.dtype)
    mask.scatter_(1, noise[:, :cells].argsort(dim=1)[:, : int(cells * 0.25)], 0)
    mask = mask.reshape(batch, GRID // CELL, 1, GRID // CELL, 1)
    mask = mask.expand(-1, -1, CELL, -1, CELL).reshape(batch, GRID**2)

    patches = images.reshape(batch, 3, GRID, PATCH, GRID, PATCH)
    projection = weights['backbone.patch_embed.proj.weight']
    x = torch.einsum('bchpwq,dcpq->bhwd', patches, projection).flatten(1, 2)
    table = weights['backbone.pos_embed']
    x = x + weights['backbone.patch_embed.proj.bias'] + table[:, TOKENS:]
    x = x[mask == 0].reshape(batch, -1, x.shape[2])  # in raster order
    tokens = weights['backbone.cls_token'] + table[:, :TOKENS]
    x = torch.cat([tokens.expand(batch, -1, -1), x], dim=1)
    for index in range(3):
        x = block(x, weights, f'backbone.blocks.{index}', 4)
    x = layer_norm(x, weights, 'backbone.norm')

    x = linear(x, weights, 'decoder.embed')
    whole = weights['decoder.mask_token'].expand(batch, GRID**2, -1).clone()
    whole[mask == 0] = x[:, TOKENS:].flatten(0, 1)
    x = torch.cat([x[:, :TOKENS], whole], dim=1) + weights['decoder.pos_embed']
    for index in range(decoder_depth):
        x = block(x, weights, f'decoder.blocks.{index}', 4)
    x = layer_norm(x, weights, 'decoder.norm')
    prediction = linear(x, weights, 'head.pred')[:, TOKENS:]

    target = patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, GRID**2, -1)
    mean, var = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
    loss = ((prediction - (target - mean) / (var + 1e-6) ** 0.5) ** 2).mean(-1)
    return (loss * mask).sum() / mask.sum(), prediction, mask


@pytest.mark.parametrize('decoder_depth, use_checkpoint', [(2, False), (32, True)])
def test_loss_predictions_and_every_gradient_are_those_of_the_formulas(
    decoder_depth, use_checkpoint
):
    model = blur_the_start(pixio(decoder_depth, use_checkpoint))
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    samples = [Sample(number) for number in range(2)]
    weights = {
        name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()
    }
    assert weights['backbone.pos_embed'].shape == (1, TOKENS + GRID**2, 32)
    assert weights['decoder.pos_embed'].shape == (1, TOKENS + GRID**2, 16)

    noise = hashed_noise(sample_keys(samples), 3 * GRID**2)
    expected, prediction, mask = published(weights, images, noise, decoder_depth)
    expected.backward()
    loss = model(images, samples, mode='loss')['loss']
    loss.backward()
    torch.testing.assert_close(loss, expected)

    ids_keep, ids_masked = model.mask(images, samples)
    assert (mask.gather(1, ids_masked) == 1).all() and (mask.gather(1, ids_keep) == 0).all()
    features, ids = model.decode(
        images, model.encode(images, ids_keep, ids_masked), ids_keep, ids_masked, everything=True
    )
    found = model.head(features)
    torch.testing.assert_close(found, prediction.gather(1, ids[:, :, None].expand_as(found)))

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad, weights[name].grad, rtol=1e-6, atol=1e-12, msg=name
        )


def test_positions_start_as_published():
    model = pixio()
    for table in (model.backbone.pos_embed, model.decoder.pos_embed):
        assert table.requires_grad and 0.018 < table.std() < 0.022 and table.abs().max() < 2
        assert not torch.equal(table[:, 0], table[:, 1])


@pytest.mark.parametrize('kind', ['MAEDecoder', 'CrossAttentionDecoder'])
def test_another_grid_gets_its_rows_bicubically_and_tokens_keep_theirs(kind):
    decoder = pixio(decoder=kind).decoder
    rows = decoder.positions.rows(decoder.pos_embed, (12, 20))
    table = decoder.pos_embed[:, TOKENS:].reshape(1, GRID, GRID, -1).permute(0, 3, 1, 2)
    table = F.interpolate(table, size=(12, 20), mode='bicubic', align_corners=False)
    assert torch.equal(rows[:TOKENS], decoder.pos_embed[0, :TOKENS])
    torch.testing.assert_close(rows[TOKENS:], table[0].flatten(1).T)


@pytest.mark.parametrize('kind', ['MAEDecoder', 'CrossAttentionDecoder'])
def test_each_token_has_its_row_in_every_decoder(kind):
    """Two class tokens that swap places change nothing if their rows do too."""
    model = blur_the_start(pixio(decoder=kind))
    decoder = model.decoder
    tokens = torch.randn(2, TOKENS + 64, 32, dtype=torch.float64)
    ids = torch.rand(2, GRID**2).argsort(1)
    swap = [1, 0, *range(2, TOKENS)]
    with torch.no_grad():
        plain = decoder(tokens, ids[:, :64], ids[:, 64:], (GRID, GRID), 192)
        swapped = torch.cat([tokens[:, swap], tokens[:, TOKENS:]], dim=1)
        other = decoder(swapped, ids[:, :64], ids[:, 64:], (GRID, GRID), 192)
        decoder.pos_embed[:, :TOKENS] = decoder.pos_embed[:, swap]
        same = decoder(swapped, ids[:, :64], ids[:, 64:], (GRID, GRID), 192)
    torch.testing.assert_close(same, plain)
    assert not torch.allclose(other, plain)


def test_a_decoder_without_rows_for_the_tokens_or_without_a_table_is_refused():
    encoder = ViT(
        dict(embed_dims=32, num_layers=1, num_heads=4), img_size=SIDE, patch_size=PATCH,
        num_cls_tokens=3, num_register_tokens=2,
    )  # fmt: skip
    decoder = dict(type='MAEDecoder', embed_dims=16, depth=1, num_heads=4)
    head = dict(type='ReconstructionHead')
    assert MAE(encoder, decoder, head).decoder.pos_embed.shape[1] == 5 + GRID**2
    with pytest.raises(UserError, match=r"num_prefix_tokens=1 differs from the encoder's.* 5"):
        MAE(encoder, dict(decoder, num_prefix_tokens=1), head)
    with pytest.raises(UserError, match='RotaryPositions has no table'):
        MAEDecoder(embed_dims=16, num_heads=4, positions=dict(type='RotaryPositions'))


def test_a_run_goes_on_at_another_size_with_all_its_rows(tmp_path):
    source = blur_the_start(pixio())
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'pixio.pth')
    larger = pixio(side=SIDE + 4 * PATCH)
    report = load_pretrained(larger, str(tmp_path / 'pixio.pth'))
    assert not report.initial and not report.ignored
    for ours, theirs in ((larger.backbone, source.backbone), (larger.decoder, source.decoder)):
        table = theirs.pos_embed.float()
        expected = resize_pos_embed(table, (GRID, GRID), (GRID + 4, GRID + 4), TOKENS)
        torch.testing.assert_close(ours.pos_embed, expected)
