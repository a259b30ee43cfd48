"""MAE's loss, reconstruction and modes against the official forward pass in raster order."""

import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_mae import official_predictions, tiny_mae

from mae_plugin.models.masking import RandomMasking, mask_from_ids, restore_ids
from mae_plugin.models.noise import sample_keys
from mae_plugin.models.patch_embed import patchify, unpatchify

IN_ENCODER = dict(encoder_mask_tokens=True, decoder=dict(with_mask_token=False))
NOTHING_MASKED = dict(masking=dict(type='RandomMasking', mask_ratio=0.0), loss_on='all')
VARIANTS = {
    'default': dict(),
    'mask tokens in the encoder': IN_ENCODER,
    'loss on all': dict(loss_on='all'),
    'l1': dict(loss='l1'),
    'plain pixels': dict(target=dict(type='PixelTarget', patch_size=4, norm_pix=False)),
    'mask tokens in the encoder, loss on all': dict(IN_ENCODER, loss_on='all'),
    'block masking': dict(masking=dict(type='BlockMasking', mask_ratio=0.5)),
    'grid masking, non-square': dict(masking=dict(type='GridMasking'), img_size=(8, 24)),
    '12 channels': dict(channels=12),
    '1 channel, patch 8': dict(channels=1, patch_size=8),
    'one decoder block': dict(decoder=dict(depth=1)),
    'nothing masked, loss on all': NOTHING_MASKED,
}


def keyed(*keys):
    return [BaseDataElement(metainfo=dict(sample_key=key, img_path=f'{key}.png')) for key in keys]


def batch_for(model, size=2):
    height, width = (side * model.backbone.patch_size for side in model.backbone.grid)
    generator = torch.Generator().manual_seed(3)
    channels = model.backbone.patch_embed.proj.in_channels
    return torch.randn(size, channels, height, width, generator=generator)


def official_loss(model, images, mask, loss_on, loss, norm_pix):
    """models_mae.py, forward_loss."""
    pred = official_predictions(model, images, mask)
    target = patchify(images, model.backbone.patch_size)
    if norm_pix:
        mean = target.mean(dim=-1, keepdim=True)
        var = target.var(dim=-1, keepdim=True)
        target = (target - mean) / (var + 1.0e-6) ** 0.5
    errors = (pred - target) ** 2 if loss == 'l2' else (pred - target).abs()
    errors = errors.mean(dim=-1)
    return errors.mean() if loss_on == 'all' else (errors * mask).sum() / mask.sum()


@pytest.mark.parametrize('variant', VARIANTS)
def test_loss_and_gradients_equal_the_official_computation(variant):
    options = VARIANTS[variant]
    model = tiny_mae(**options)
    images, samples = batch_for(model), keyed(11, 12)
    loss = model(images, samples, mode='loss')['loss']
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    _, ids_masked = model.mask(images, samples)
    mask = mask_from_ids(ids_masked, len(model.backbone.pos_embed[0]) - 1)
    model.zero_grad()
    expected = official_loss(
        model, images, mask, options.get('loss_on', 'masked'), options.get('loss', 'l2'),
        variant != 'plain pixels',
    )  # fmt: skip
    expected.backward()

    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(found) == names
    for name, parameter in model.named_parameters():
        if name in names:
            torch.testing.assert_close(
                found[name],
                parameter.grad,
                rtol=1e-3,
                atol=1e-6,
                msg=lambda m, n=name: f'{n}: {m}',
            )


@pytest.mark.parametrize('variant', VARIANTS)
def test_predictions_are_put_back_in_their_places(variant):
    model = tiny_mae(**VARIANTS[variant]).eval()
    images, samples = batch_for(model), keyed(11, 12)
    elements = model(images, samples, mode='predict')

    ids_keep, ids_masked = model.mask(images, samples)
    mask = mask_from_ids(ids_masked, ids_keep.shape[1] + ids_masked.shape[1])
    pred = official_predictions(model, images, mask)
    everything = torch.arange(mask.shape[1]).expand_as(mask).long()
    pixels = model.head.target.to_pixels(pred, images, everything)
    pictures = unpatchify(pixels, model.backbone.patch_size, model.backbone.grid)
    for index, element in enumerate(elements):
        assert torch.equal(element.mask.flatten(), mask[index])
        assert element.mask.shape == model.backbone.grid
        torch.testing.assert_close(
            element.reconstruction, pictures[index].detach(), rtol=1e-3, atol=1e-4
        )
        assert element.img_path == f'{11 + index}.png' and element.sample_key == 11 + index
    if model.loss_on == 'masked':
        losses = torch.stack([element.reconstruction_loss for element in elements])
        loss = model(images, samples, mode='loss')['loss']
        torch.testing.assert_close(losses.mean(), loss.detach())


def test_each_image_is_reconstructed_on_its_own():
    model = tiny_mae().eval()
    images = batch_for(model, 3)
    together = model(images, keyed(5, 6, 7), mode='predict')
    alone = model(images[1:2], keyed(6), mode='predict')[0]
    assert torch.equal(alone.mask, together[1].mask)
    torch.testing.assert_close(alone.reconstruction, together[1].reconstruction)
    torch.testing.assert_close(alone.reconstruction_loss, together[1].reconstruction_loss)


def test_removed_pixels_are_not_seen():
    model = tiny_mae(target=dict(type='PixelTarget', patch_size=4, norm_pix=False)).eval()
    images, samples = batch_for(model), keyed(1, 2)
    result = model.reconstruct(images, samples)
    ids_keep, ids_masked = model.mask(images, samples)
    patches = patchify(images, 4)
    hidden = patches.scatter(1, ids_masked[:, :, None].expand(-1, -1, 48), 1e4)
    again = model.reconstruct(unpatchify(hidden, 4, (4, 4)), samples)
    assert torch.equal(result.images, again.images)
    order = restore_ids(ids_keep, ids_masked)
    assert torch.equal(torch.cat([ids_keep, ids_masked], 1).gather(1, order)[0], torch.arange(16))


def test_tensor_mode_encodes_the_whole_image():
    model = tiny_mae().eval()
    images = batch_for(model)
    tokens = model(images)
    assert tokens.shape == (2, 17, 24)
    assert torch.equal(tokens, model.backbone(images))


def test_predict_without_samples_draws_masks():
    model = tiny_mae().eval()
    torch.manual_seed(0)
    elements = model.predict(batch_for(model))
    assert len(elements) == 2 and elements[0].mask.sum() == 12
    assert not torch.equal(elements[0].mask, elements[1].mask)


def test_train_and_test_steps_go_through_the_preprocessor():
    model = tiny_mae()
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    data = dict(inputs=images, data_samples=keyed(1, 2))
    normalised = (images.float() - 128) / 64
    elements = model.test_step(data)
    expected = model.predict(normalised, keyed(1, 2))
    for one, other in zip(elements, expected, strict=True):
        assert torch.equal(one.reconstruction, other.reconstruction)


def test_mask_tokens_of_the_encoder_are_drawn_once_and_a_checkpoint_replaces_them(tmp_path):
    model = tiny_mae(**IN_ENCODER)
    drawn = model.mask_token.detach().clone()
    assert 0.005 < drawn.std() < 0.05
    model.init_weights()
    assert torch.equal(model.mask_token, drawn)

    torch.nn.init.constant_(model.mask_token, 0.5)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'mae.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'mae.pth'))
    other = tiny_mae(init_cfg=pretrained, **IN_ENCODER)
    assert torch.equal(other.mask_token, model.mask_token)


def test_a_step_moves_all_but_the_positions():
    model = tiny_mae()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.5)
    model(batch_for(model), mode='loss')['loss'].backward()
    optimizer.step()
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert still == {'backbone.pos_embed', 'decoder.pos_embed'}


def test_images_of_another_size_than_the_models():
    model = tiny_mae(img_size=16)
    loss = model(torch.randn(2, 3, 24, 8), keyed(1, 2), mode='loss')['loss']
    assert loss.isfinite()
    element = model.predict(torch.randn(1, 3, 24, 8), keyed(1))[0]
    assert element.mask.shape == (6, 2) and element.reconstruction.shape == (3, 24, 8)


def test_prediction_ratio_scores_a_part_of_the_masked_patches():
    model = tiny_mae(decoder=dict(type='CrossAttentionDecoder'), prediction_ratio=0.25)
    images, samples = batch_for(model), keyed(1, 2)
    ids_keep, ids_masked = model.mask(images, samples)
    features, ids = model.decode(
        images, model.encode(images, ids_keep, ids_masked), ids_keep, ids_masked
    )
    assert features.shape == (2, 4, 16) and torch.equal(ids, ids_masked[:, :4])


@pytest.mark.parametrize(
    'samples, expected',
    [
        (None, None),
        ([], None),
        (keyed(3, -4), [3, -4]),
        ([BaseDataElement(), *keyed(3)], None),
    ],
)
def test_sample_keys(samples, expected):
    keys = sample_keys(samples)
    assert keys is None if expected is None else keys.tolist() == expected


def test_unknown_mode_is_named():
    with pytest.raises(ValueError, match="mode='train': choose 'loss', 'tensor' or 'predict'"):
        tiny_mae()(torch.zeros(1, 3, 16, 16), mode='train')


@pytest.mark.parametrize('mode', ['loss', 'predict'])
def test_a_masking_set_later_that_masks_nothing_is_named(mode):
    model = tiny_mae()
    model.masking = RandomMasking(0.0)
    with pytest.raises(ValueError, match=r'mask_ratio=0.0 masks no patch of a 4x4 grid'):
        model(torch.zeros(1, 3, 16, 16), mode=mode)


@pytest.mark.parametrize('decoder', ['MAEDecoder', 'CrossAttentionDecoder'])
def test_nothing_masked_is_an_autoencoder_when_all_patches_count(decoder):
    model = tiny_mae(decoder=dict(type=decoder), **NOTHING_MASKED).eval()
    images = batch_for(model)
    result = model.reconstruct(images)
    assert not result.mask.any() and result.images.shape == images.shape
    loss = model(images, mode='loss')['loss'].detach()
    torch.testing.assert_close(result.loss.mean(), loss)
    assert result.loss[0] != result.loss[1]
