"""Whether the parts of a MAE fit each other, told before any worker starts."""

import logging

import torch
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid
from mae_plugin.logs import log
from mae_plugin.models.dense.vit_backbone import ViTBackbone

from .layer_mixture import read_blocks
from .masking import Masking


def check_parts(model: nn.Module) -> None:
    """Check widths, patch sizes, channels, mask tokens and ratios.

    A part of the user's own need not say all of this: what it does not say is not checked.

    Raises:
        UserError: If parts do not fit; the message names both.
    """
    encoder, decoder, target = model.backbone, model.decoder, model.head.target
    if isinstance(encoder, ViTBackbone):
        raise UserError(
            'a MAE leaves patches out, which windows, relative positions and maps do not allow: '
            "its encoder is a ViT (type='ViT'), whose weights a ViTBackbone takes afterwards"
        )
    channels = encoder.patch_embed.proj.in_channels
    _check_grids(getattr(decoder, 'grid', encoder.grid), encoder)
    num_prefix = getattr(encoder, 'num_prefix_tokens', 1)
    repeated = (
        (
            'decoder.in_dims',
            getattr(getattr(decoder, 'embed', None), 'in_features', None),
            "the encoder's width",
            encoder.embed_dims,
        ),
        (
            'decoder.num_prefix_tokens',
            max(1, getattr(decoder, 'num_prefix_tokens', num_prefix)),
            "the encoder's class and register tokens,",
            max(1, num_prefix),  # a row for none is there, and not used
        ),
        (
            'head.in_dims',
            model.head.pred.in_features,
            "the decoder's embed_dims",
            getattr(decoder, 'embed_dims', model.head.pred.in_features),
        ),
        (
            "the target's patch_size",
            getattr(target, 'patch_size', None),
            "the encoder's",
            encoder.patch_size,
        ),
        (
            "the target's in_channels",
            getattr(target, 'in_channels', None),
            "the encoder's",
            channels,
        ),
    )
    for name, said, owner, fact in repeated:
        if said not in (None, fact):
            raise UserError(f'{name}={said} differs from {owner} {fact}: leave it out')
    if any(parameter.requires_grad for parameter in target.parameters()):
        raise UserError(
            f'{type(target).__name__} has parameters that would be trained, towards the target '
            'that is easiest to predict: call requires_grad_(False) in its constructor'
        )
    mean = getattr(model.data_preprocessor, 'mean', None)
    if mean is not None and mean.numel() != channels:
        raise UserError(
            f"the data preprocessor's mean has {mean.numel()} values, which differs from the "
            f"encoder's in_channels={channels}: give one mean and one std for each channel"
        )
    in_decoder = getattr(model.decoder, 'mask_token', None) is not None
    if hasattr(model.decoder, 'mask_token') and (model.mask_token is not None) == in_decoder:
        raise UserError(
            f'encoder_mask_tokens={model.mask_token is not None} needs '
            f'decoder.with_mask_token={model.mask_token is None}: mask tokens join either '
            'the encoder or the decoder'
        )
    in_layers, num_layers = getattr(decoder, 'in_layers', 1), encoder.num_layers
    if isinstance(in_layers, int) and in_layers > num_layers:
        raise UserError(
            f'decoder.in_layers={in_layers} is more than the encoder has blocks: {num_layers}'
        )
    blocks = read_blocks(in_layers, num_layers)
    if tuple(sorted({*blocks})) != blocks or blocks[0] < 0 or blocks[-1] != num_layers - 1:
        raise UserError(
            f"decoder.in_layers={in_layers}: give numbers of the encoder's {num_layers} blocks in "
            f'rising order, from 0, the last of which is {num_layers - 1}'
        )
    if model.prediction_ratio is not None:
        most = getattr(model.masking, 'mask_ratio', 1)
        if not 0 < model.prediction_ratio <= most:
            raise UserError(
                f'prediction_ratio={model.prediction_ratio} is outside (0, mask_ratio='
                f'{most}]: it is the share of all patches to predict, '
                'chosen among the masked'
            )
        if not getattr(model.decoder, 'predicts_independently', False):
            raise UserError(
                f'prediction_ratio={model.prediction_ratio} needs a decoder whose predictions '
                f'do not depend on each other, not {type(model.decoder).__name__}: use '
                'CrossAttentionDecoder'
            )
        if model.loss_on == 'all':
            raise UserError("prediction_ratio and loss_on='all' contradict each other")
    if isinstance(model.masking, Masking):
        grid = model.backbone.grid
        if model.masking.num_keep(grid) == grid[0] * grid[1] and model.loss_on == 'masked':
            raise nothing_masked(model.masking, grid)
    if encoder.patch_embed.proj.weight.device.type != 'meta':  # no values there
        # Here rather than in training, where reading values waits for the device.
        with torch.device('cpu'), torch.random.fork_rng(devices=[]):
            ids_keep, ids_masked = model.masking(2, model.backbone.grid, 'cpu', torch.arange(2))
            check_mask(model.masking, ids_keep, ids_masked, model.backbone.grid)


def _check_grids(grid: Grid, backbone: nn.Module) -> None:
    """Refuse a decoder of swapped sides; tell of another size, whose positions are resized."""
    if grid == backbone.grid:
        return
    theirs, ours = (
        tuple(side * backbone.patch_size for side in sides) for sides in (grid, backbone.grid)
    )
    text = f"the decoder's img_size={theirs} differs from the encoder's {ours}"
    if grid == backbone.grid[::-1]:
        raise UserError(f'{text}: give both the same (height, width)')
    log(f'{text}: its positions are resized at every step', logging.WARNING)


def check_mask(masking: nn.Module, ids_keep: Tensor, ids_masked: Tensor, grid: Grid) -> None:
    """Check that a masking keeps its contract.

    Args:
        masking: The masking.
        ids_keep: What it gave for two images.
        ids_masked: The other thing that it gave.
        grid: Their patch grid.

    Raises:
        UserError: If the two are not, for each image, all patches once.
    """
    batch_size = 2
    length = grid[0] * grid[1]
    name, wanted = type(masking).__name__, f'(ids_keep, ids_masked), int64, together all {length}'
    shapes = tuple(ids_keep.shape), tuple(ids_masked.shape)
    if (
        [len(shape) for shape in shapes] != [2, 2]
        or {shape[0] for shape in shapes} != {batch_size}
        or shapes[0][1] + shapes[1][1] != length
        or {ids_keep.dtype, ids_masked.dtype} != {torch.int64}
    ):
        raise UserError(
            f'{name} gave {ids_keep.dtype} of shape {shapes[0]} and {ids_masked.dtype} of shape '
            f'{shapes[1]} for {batch_size} images of {grid[0]}x{grid[1]} patches: it should give '
            f'{wanted} patches of each image (not ids_restore or a mask)'
        )
    ids = torch.cat([ids_keep, ids_masked], dim=1)
    if not torch.equal(ids.sort(dim=1).values, torch.arange(length).expand_as(ids)):
        raise UserError(
            f'{name} gave patches twice or not at all: it should give {wanted} patches of each '
            'image, each once'
        )


def nothing_masked(masking: nn.Module, grid: Grid) -> UserError:
    """The error of a loss on masked patches where there are none."""
    ratio = getattr(masking, 'mask_ratio', None)
    return UserError(
        f'{type(masking).__name__} with mask_ratio={ratio} masks no patch of a '
        f'{grid[0]}x{grid[1]} grid, so there is nothing to predict: raise it, or train with '
        "loss_on='all'"
    )
