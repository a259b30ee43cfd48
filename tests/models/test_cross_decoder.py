"""CrossAttentionDecoder against a reference written token by token, and its independence."""

import math

import pytest
import torch
from maskings import KINDS
from tiny_mae import tiny_mae
from torch import nn

from mae_plugin.models import MAE, CrossAttentionDecoder, MAEDecoder

GRID = (3, 5)
WIDTH, DIMS, HEADS = 24, 16, 4


@pytest.fixture(params=[1, 3])
def decoder(request):
    torch.manual_seed(0)
    decoder = CrossAttentionDecoder(
        in_dims=WIDTH, embed_dims=DIMS, depth=2, num_heads=HEADS, img_size=(12, 20), patch_size=4,
        in_layers=request.param,
    )  # fmt: skip
    decoder.init_weights()
    for name, parameter in decoder.named_parameters():
        if name != 'pos_embed' and parameter.ndim == 1:
            nn.init.normal_(parameter, mean=float(name.endswith('weight')), std=0.2)
    return decoder.double()


def split(batch_size: int, num_keep: int):
    ids = torch.rand(batch_size, GRID[0] * GRID[1]).argsort(dim=1)
    return ids[:, :num_keep], ids[:, num_keep:]


def layer_norm(x, norm):
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-6).sqrt() * norm.weight + norm.bias


def predict_one_patch(decoder, layers, places, place):
    """Features of one patch of one image, with explicit loops over tokens and heads.

    layers: in_layers of (1 + K, WIDTH); places: rows of the position table for them; place: the
    query's row.
    """
    table = decoder.pos_embed[0]
    x = decoder.mask_token[0, 0] + table[place]
    for number, block in enumerate(decoder.blocks):
        weights = [1.0] if decoder.mix is None else decoder.mix[number]
        visible = []
        for index, row in enumerate(places):
            token = sum(w * layer[index] for w, layer in zip(weights, layers, strict=True))
            token = decoder.embed.weight @ token + decoder.embed.bias + table[row]
            visible.append(layer_norm(token, decoder.norm_visible))
        attn = block.attn
        query = attn.q.weight @ layer_norm(x, block.norm1) + attn.q.bias
        pairs = [attn.kv.weight @ token + attn.kv.bias for token in visible]
        size = DIMS // HEADS
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            weights = [math.exp(query[part] @ kv[:DIMS][part] / math.sqrt(size)) for kv in pairs]
            values = [kv[DIMS:][part] for kv in pairs]
            heads.append(sum(w * v for w, v in zip(weights, values)) / sum(weights))
        x = x + attn.proj.weight @ torch.cat(heads) + attn.proj.bias
        hidden = block.mlp.fc1.weight @ layer_norm(x, block.norm2) + block.mlp.fc1.bias
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + block.mlp.fc2.weight @ hidden + block.mlp.fc2.bias
    return layer_norm(x, decoder.norm)


def test_equals_reference_written_token_by_token(decoder):
    ids_keep, ids_masked = split(2, 6)
    tokens = [torch.randn(2, 7, WIDTH, dtype=torch.float64) for _ in range(decoder.in_layers)]
    with torch.no_grad():
        features = decoder(tokens, ids_keep, ids_masked, GRID)
        for b in range(2):
            places = [0, *(1 + ids_keep[b]).tolist()]
            for n, place in enumerate(torch.cat([ids_keep[b], ids_masked[b]]).tolist()):
                layers = [layer[b] for layer in tokens]
                expected = predict_one_patch(decoder, layers, places, 1 + place)
                torch.testing.assert_close(features[b, n], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('use_checkpoint', [False, True])
def test_predictions_depend_on_the_image_and_not_on_each_other(decoder, use_checkpoint):
    decoder.use_checkpoint = use_checkpoint
    ids_keep, ids_masked = split(2, 6)
    stacked = torch.randn(decoder.in_layers, 2, 7, WIDTH, dtype=torch.float64, requires_grad=True)
    tokens = list(stacked)
    masked = decoder(tokens, ids_keep, ids_masked, GRID, num_predict=9)
    everything = decoder(tokens, ids_keep, ids_masked, GRID)
    first = [layer[:1] for layer in tokens]
    alone = decoder(first, ids_keep[:1], ids_masked[:1, 4:5], GRID, num_predict=1)
    assert masked.shape == (2, 9, DIMS) and everything.shape == (2, 15, DIMS)
    torch.testing.assert_close(masked, everything[:, 6:])
    torch.testing.assert_close(alone[0, 0], masked[0, 4])
    # A sample's prediction sees no other sample, and every visible token of its own.
    (gradient,) = torch.autograd.grad(masked[0, 4].sum(), stacked)
    assert (gradient[:, 1] == 0).all()
    assert (gradient[:, 0].abs().sum(2) > 0).all()


@pytest.mark.parametrize('cls_token', [True, False])
def test_encoder_hands_over_what_its_last_blocks_give(cls_token):
    model = build_mae(num_layers=4, in_layers=3, with_cls_token=cls_token)
    given = []
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda module, args, output: given.append(output))
    images = torch.randn(2, 3, 32, 32)
    ids_keep, ids_masked = model.mask(images)
    layers = model.encode(images, ids_keep, ids_masked)
    assert len(given) == 4
    expected = [given[1], given[2], model.backbone.norm(given[3])]
    assert all(torch.equal(a, b) for a, b in zip(layers, expected, strict=True))
    given.clear()
    assert torch.equal(model.backbone(images, ids_keep), layers[-1])


def test_mixtures_are_trained_and_start_at_the_official_spread():
    model = build_mae(num_layers=3, in_layers=3, depth=200)
    assert abs(model.decoder.mix.std().item() - 3**-0.5) < 0.05
    model(torch.randn(2, 3, 32, 32), mode='loss')['loss'].backward()
    assert (model.decoder.mix.grad != 0).all()


def build_mae(masking=None, num_layers=1, in_layers=1, depth=1, with_cls_token=True, **kwargs):
    torch.manual_seed(0)
    model = MAE(
        backbone=dict(
            type='ViT', arch=dict(embed_dims=WIDTH, num_layers=num_layers, num_heads=2),
            img_size=32, patch_size=4, with_cls_token=with_cls_token,
        ),
        decoder=dict(
            type='CrossAttentionDecoder', in_dims=WIDTH, embed_dims=DIMS, depth=depth, num_heads=2,
            img_size=32, patch_size=4, in_layers=in_layers,
        ),
        head=dict(
            type='ReconstructionHead', in_dims=DIMS, target=dict(type='PixelTarget', patch_size=4)
        ),
        masking=masking,
        **kwargs,
    )  # fmt: skip
    model.init_weights()
    return model


@pytest.mark.parametrize('in_layers', [1, 2])
def test_partial_prediction_is_a_part_of_the_full_one(in_layers):
    model = build_mae(prediction_ratio=0.25, num_layers=2, in_layers=in_layers)
    images = torch.randn(3, 3, 32, 32)
    ids_keep, ids_masked = model.mask(images)
    tokens = model.encode(images, ids_keep, ids_masked)
    part, ids_part = model.decode(images, tokens, ids_keep, ids_masked)
    model.prediction_ratio = None
    full, ids_full = model.decode(images, tokens, ids_keep, ids_masked)
    assert ids_part.shape == (3, 16) and ids_full.shape == (3, 48)
    assert torch.equal(ids_part, ids_full[:, :16])
    torch.testing.assert_close(part, full[:, :16])


@pytest.mark.parametrize('masking', KINDS)
def test_loss_is_that_of_the_predicted_patches_and_trains_every_weight(masking):
    model = build_mae(masking=dict(type=masking), prediction_ratio=0.25)
    images = torch.randn(2, 3, 32, 32)
    torch.manual_seed(3)
    loss = model(images, mode='loss')['loss']
    loss.backward()
    torch.manual_seed(3)
    result = model.reconstruct(images)
    assert result.images.shape == images.shape and result.mask.sum(1).tolist() == [48, 48]
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    torch.manual_seed(3)
    ids_keep, ids_masked = model.mask(images)
    tokens = model.encode(images, ids_keep, ids_masked)
    features, ids = model.decode(images, tokens, ids_keep, ids_masked)
    target = model.head.target(images, ids)
    torch.testing.assert_close(loss, (model.head(features) - target).square().mean())
    assert ids.shape == (2, 16)
    assert (result.mask.gather(1, ids) == 1).all()


@pytest.mark.parametrize('masking', KINDS)
def test_first_masked_patches_are_a_uniform_choice_among_the_masked(masking):
    keys = torch.randint(-(2**62), 2**62, (4000,))
    _, ids_masked = masking()(4000, (8, 8), 'cpu', keys)
    masked = torch.zeros(64).index_add(0, ids_masked.flatten(), torch.ones(4000 * 48))
    chosen = torch.zeros(64).index_add(0, ids_masked[:, :16].flatten(), torch.ones(4000 * 16))
    expected = masked / 3
    chi_square = ((chosen - expected).square() / expected.clamp(min=1)).sum()
    # At most 63 degrees of freedom, negatively correlated draws: 120 is far beyond chance.
    assert chi_square < 120
    again = masking()(10, (8, 8), 'cpu', keys[:10])[1]
    assert torch.equal(again, ids_masked[:10])


@pytest.mark.parametrize('ratio', [0, -0.1, 0.8])
def test_refuses_a_ratio_that_cannot_be(ratio):
    with pytest.raises(ValueError, match=f'prediction_ratio={ratio}'):
        build_mae(prediction_ratio=ratio)


def test_refuses_parts_that_contradict_each_other():
    with pytest.raises(ValueError, match='MAEDecoder: use CrossAttentionDecoder'):
        build = build_mae()
        MAE(
            build.backbone,
            MAEDecoder(WIDTH, DIMS, 1, 2, 32, 4),
            build.head,
            prediction_ratio=0.25,
        )
    with pytest.raises(ValueError, match='contradict'):
        build_mae(prediction_ratio=0.25, loss_on='all')
    with pytest.raises(ValueError, match='num_heads=3'):
        CrossAttentionDecoder(in_dims=WIDTH, embed_dims=DIMS, num_heads=3)
    with pytest.raises(ValueError, match='in_layers=3 is more than the encoder has blocks: 2'):
        build_mae(num_layers=2, in_layers=3)
    with pytest.raises(ValueError, match='in_layers=0'):
        CrossAttentionDecoder(in_dims=WIDTH, embed_dims=DIMS, num_heads=4, in_layers=0)
    with pytest.raises(ValueError, match='in_layers=0'):
        MAEDecoder(in_dims=WIDTH, embed_dims=DIMS, num_heads=4, in_layers=0)
    with pytest.raises(ValueError, match='in_layers='):
        MAEDecoder(in_dims=WIDTH, embed_dims=DIMS, num_heads=4, in_layers=())
    for blocks in ([0, 3], [1, 0, 2], [0, 0, 2], [-1, 2], [0, 2, 3]):
        fusing = dict(type='MAEDecoder', in_layers=blocks)
        with pytest.raises(ValueError, match=r'in_layers=.*3 blocks in rising order.*is 2'):
            tiny_mae(depth=3, decoder=fusing)
    with pytest.raises(ValueError, match='depth=0'):
        CrossAttentionDecoder(in_dims=WIDTH, embed_dims=DIMS, num_heads=4, depth=0)
