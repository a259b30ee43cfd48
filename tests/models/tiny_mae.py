"""A MAE small enough for any test, and the official forward pass over its parts."""

import torch
from torch import nn

from mae_plugin.models import MAE


def tiny_mae(
    patch_size=4,
    channels=3,
    img_size=16,
    target=None,
    decoder=None,
    loss='l2',
    depth=2,
    **changes,
):
    """A built and initialised MAE; ``changes`` are arguments of it."""
    shape = dict(img_size=img_size, patch_size=patch_size)
    torch.manual_seed(0)
    model = MAE(
        backbone=dict(
            type='ViT',
            arch=dict(embed_dims=24, num_layers=depth, num_heads=3),
            in_channels=channels,
            **shape,
        ),
        decoder=dict(type='MAEDecoder', in_dims=24, embed_dims=16, depth=2, num_heads=2, **shape)
        | (decoder or {}),
        head=dict(
            type='ReconstructionHead',
            in_dims=16,
            loss=loss,
            target=target or dict(type='PixelTarget', patch_size=patch_size, in_channels=channels),
        ),
        data_preprocessor=dict(
            type='MAEDataPreprocessor', mean=[128.0] * channels, std=[64.0] * channels
        ),
        **changes,
    )
    model.init_weights()
    # The official zero biases and unit scales would hide some mistakes.
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.ndim == 1:
            nn.init.normal_(parameter, float(name.endswith('weight')), 0.1)
    return model


def official_predictions(model, images, mask):
    """models_mae.py in raster order: predictions (B, L, ...) given mask (B, L), 1 is masked.

    Nothing is left out or reordered here but the encoder's visible tokens, and with mask tokens
    in the encoder not even these.
    """
    encoder, decoder = model.backbone, model.decoder
    x = encoder.patch_embed.proj(images).flatten(2).transpose(1, 2)
    x = x + encoder.pos_embed[:, 1:]
    if model.mask_token is not None:
        masked = (model.mask_token + encoder.pos_embed[:, 1:]).expand_as(x)
        x = torch.where(mask[:, :, None] == 1, masked, x)
        keep = torch.arange(mask.shape[1]).expand_as(mask)
    else:
        keep = mask.argsort(dim=1, stable=True)[:, : int((mask[0] == 0).sum())]
        x = x.gather(1, keep[:, :, None].expand(-1, -1, x.shape[2]))
    cls_token = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(x), -1, -1)
    x = torch.cat([cls_token, x], dim=1)
    for block in encoder.blocks:
        x = block(x)
    x = decoder.embed(encoder.norm(x))

    whole = x.new_zeros(len(x), mask.shape[1], x.shape[2])
    if decoder.mask_token is not None:
        whole = whole + decoder.mask_token
    whole = whole.scatter(1, keep[:, :, None].expand(-1, -1, x.shape[2]), x[:, 1:])
    x = torch.cat([x[:, :1], whole], dim=1) + decoder.pos_embed
    for block in decoder.blocks:
        x = block(x)
    return model.head.pred(decoder.norm(x))[:, 1:]
