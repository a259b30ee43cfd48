"""Whether the parts of a MAE fit each other, told before any worker starts."""

from typing import TYPE_CHECKING

from .masking import Masking
from .pos_embed import Grid

if TYPE_CHECKING:
    from .mae import MAE


def check_parts(model: 'MAE') -> None:
    """Check widths, patch sizes, channels, mask tokens and ratios.

    Raises:
        ValueError: If parts do not fit; the message names both.
    """
    width = model.decoder.embed.in_features
    if width != model.backbone.embed_dims:
        raise ValueError(
            f"decoder.in_dims={width} differs from the encoder's width {model.backbone.embed_dims}"
        )
    if model.head.pred.in_features != model.decoder.embed_dims:
        raise ValueError(
            f'head.in_dims={model.head.pred.in_features} differs from '
            f'decoder.embed_dims={model.decoder.embed_dims}'
        )
    target, channels = model.head.target, model.backbone.patch_embed.proj.in_channels
    if target.patch_size != model.backbone.patch_size:
        raise ValueError(
            f"the target's patch_size={target.patch_size} differs from the encoder's "
            f'{model.backbone.patch_size}'
        )
    if target.in_channels != channels:
        raise ValueError(
            f"the target's in_channels={target.in_channels} differs from the encoder's {channels}"
        )
    mean = getattr(model.data_preprocessor, 'mean', None)
    if mean is not None and mean.numel() != channels:
        raise ValueError(
            f"the data preprocessor's mean has {mean.numel()} values, which differs from the "
            f"encoder's in_channels={channels}: give one mean and one std for each channel"
        )
    if (model.mask_token is None) == (model.decoder.mask_token is None):
        raise ValueError(
            f'encoder_mask_tokens={model.mask_token is not None} needs '
            f'decoder.with_mask_token={model.mask_token is None}: mask tokens join either '
            'the encoder or the decoder'
        )
    in_layers = getattr(model.decoder, 'in_layers', 1)
    if in_layers > model.backbone.num_layers:
        raise ValueError(
            f'decoder.in_layers={in_layers} is more than the encoder has blocks: '
            f'{model.backbone.num_layers}'
        )
    if model.prediction_ratio is not None:
        if not 0 < model.prediction_ratio <= model.masking.mask_ratio:
            raise ValueError(
                f'prediction_ratio={model.prediction_ratio} is outside (0, mask_ratio='
                f'{model.masking.mask_ratio}]: it is the share of all patches to predict, '
                'chosen among the masked'
            )
        if not getattr(model.decoder, 'predicts_independently', False):
            raise ValueError(
                f'prediction_ratio={model.prediction_ratio} needs a decoder whose predictions '
                f'do not depend on each other, not {type(model.decoder).__name__}: use '
                'CrossAttentionDecoder'
            )
        if model.loss_on == 'all':
            raise ValueError("prediction_ratio and loss_on='all' contradict each other")
    if isinstance(model.masking, Masking):
        grid = model.backbone.grid
        if model.masking.num_keep(grid) == grid[0] * grid[1] and model.loss_on == 'masked':
            raise nothing_masked(model.masking.mask_ratio, grid)


def nothing_masked(mask_ratio: float, grid: Grid) -> ValueError:
    """The error of a loss on masked patches where there are none."""
    return ValueError(
        f'mask_ratio={mask_ratio} masks no patch of a {grid[0]}x{grid[1]} grid, so there is '
        "nothing to predict: raise it, or train with loss_on='all'"
    )
