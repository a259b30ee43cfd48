"""Parts of a MAE that do not fit each other are named when it is built."""

import pytest
import torch
from tiny_mae import tiny_mae

from mae_plugin.models import MAE

PIXELS = dict(type='PixelTarget', patch_size=4)
ERRORS = {
    r"loss_on='visible': choose 'masked' \(paper\) or 'all'": dict(loss_on='visible'),
    "unknown loss 'huber': choose one of l2, l1": dict(loss='huber'),
    "decoder.in_dims=32 differs from the encoder's width 24": dict(decoder=dict(in_dims=32)),
    r"decoder's img_size=\(32, 16\) differs from the encoder's \(16, 32\)": dict(
        img_size=(16, 32), decoder=dict(img_size=(32, 16))
    ),
    "head.in_dims=16 differs from the decoder's embed_dims 8: leave it out": dict(
        decoder=dict(embed_dims=8)
    ),
    "the target's patch_size=8 differs from the encoder's 4": dict(
        target=dict(PIXELS, patch_size=8)
    ),
    'encoder_mask_tokens=True needs decoder.with_mask_token=False': dict(encoder_mask_tokens=True),
    'encoder_mask_tokens=False needs decoder.with_mask_token=True': dict(
        decoder=dict(with_mask_token=False)
    ),
    r'prediction_ratio=0.8 is outside \(0, mask_ratio=0.75\]': dict(
        prediction_ratio=0.8, decoder=dict(type='CrossAttentionDecoder')
    ),
    'prediction_ratio=0.5 needs a decoder .* not MAEDecoder': dict(prediction_ratio=0.5),
    "prediction_ratio and loss_on='all' contradict": dict(
        prediction_ratio=0.5, loss_on='all', decoder=dict(type='CrossAttentionDecoder')
    ),
    r'mask_ratio=1.2 is outside \[0, 1\)': dict(
        masking=dict(type='RandomMasking', mask_ratio=1.2)
    ),
    'mask_ratio=0.0 masks no patch of a 4x4 grid.*raise it': dict(
        masking=dict(type='RandomMasking', mask_ratio=0.0)
    ),
    'mask_ratio=0.97 keeps none of the 16 patches of a 4x4 grid': dict(
        masking=dict(type='GridMasking', mask_ratio=0.97)
    ),
    "the target's in_channels=1 differs from the encoder's 3": dict(
        target=dict(PIXELS, in_channels=1)
    ),
}


@pytest.mark.parametrize('message', ERRORS)
def test_parts_that_do_not_fit_are_named(message):
    with pytest.raises(ValueError, match=message):
        tiny_mae(**ERRORS[message])


def test_a_preprocessor_of_another_number_of_channels_is_named():
    model = tiny_mae(channels=3)
    with pytest.raises(ValueError, match=r"mean has 2 values.*encoder's in_channels=3"):
        MAE(
            model.backbone, model.decoder, model.head,
            data_preprocessor=dict(type='MAEDataPreprocessor', mean=[0.0] * 2, std=[1.0] * 2),
        )  # fmt: skip


def test_a_mae_is_built_on_any_default_device(monkeypatch):
    # Before torch 2.7 a context was not seen here.
    monkeypatch.setattr(torch, 'get_default_device', lambda: torch.device('cpu'), raising=False)
    monkeypatch.setattr(MAE, 'init_weights', lambda self: None)  # mmengine's reads values
    with torch.device('meta'):
        assert tiny_mae().backbone.pos_embed.device.type == 'meta'


def test_a_decoder_of_another_size_is_told_but_runs():
    model = tiny_mae(decoder=dict(img_size=32))
    assert model.loss(torch.randn(2, 3, 16, 16))['loss'].isfinite()
