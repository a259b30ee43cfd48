"""Shrink a full-size ablation config so that a whole table runs on a small machine."""

import copy
import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mae_plugin.arch import parse_arch
from mae_plugin.registry import HOOKS, MODELS, builds


@dataclass(frozen=True)
class Scale:
    """How a config is shrunk; factors multiply what the config says.

    Attributes:
        img_size: Side of the images in pixels, for 224.
        patch_size: Side of a patch, for 16.
        width: Factor of the encoder's and the decoder's width.
        encoder_depth: Factor of the encoder's number of blocks.
        decoder_depth: Factor of the decoder's.
        head_dims: Width of an attention head, where the width has room for it.
        batch_size: Images per iteration.
        iterations: Iterations for each of the config's epochs.
        lr: Learning rate at ``batch_size``; small models want more than the paper's.
        workers: Processes that load images; none where one core does everything.
    """

    img_size: int
    patch_size: int
    width: float
    encoder_depth: float
    decoder_depth: float
    head_dims: int
    batch_size: int
    iterations: float
    lr: float
    workers: int


SCALES = {
    # ViT-L (24 x 1024, decoder 8 x 512) becomes 6 x 128 with a decoder of 4 x 64.
    'tiny': Scale(64, 8, 1 / 8, 1 / 4, 1 / 2, 32, 32, 1.5, 2e-3, 0),
    # ... 12 x 192 with a decoder of 4 x 96: for a GPU and some minutes a row.
    'small': Scale(96, 8, 3 / 16, 1 / 2, 1 / 2, 48, 256, 5.0, 2.4e-3, 8),
}


def shrink(cfg: dict, scale: Scale) -> dict:
    """A small copy of a pretraining config with every knob at the same relative place.

    Depths are rounded up to at least one block, so the smallest rows of a table may coincide. The
    run is counted in iterations, not in passes over the data, and keeps no checkpoints.

    Args:
        cfg: Plain dict of a config derived from ``configs/ablations/default.py``.
        scale: The sizes.
    """
    cfg = copy.deepcopy(cfg)
    model = cfg['model']
    arch = parse_arch(model['backbone']['arch'])
    dims = _width(arch.embed_dims, scale)
    model['backbone']['arch'] = dict(
        embed_dims=dims,
        num_layers=_depth(arch.num_layers, scale.encoder_depth),
        num_heads=_heads(dims, scale),
        mlp_ratio=arch.mlp_ratio,
    )
    decoder = model['decoder']
    width = _width(decoder.get('embed_dims') or model['head'].get('in_dims', 512), scale)
    smaller: dict[str, Any] = dict(
        in_dims=dims,
        embed_dims=width,
        depth=_depth(decoder.get('depth', 8), scale.decoder_depth),
        num_heads=_heads(width, scale),
    )
    if 'in_layers' in decoder:
        smaller['in_layers'] = _in_layers(decoder['in_layers'], scale)
    # A decoder of the user's own may take none of these.
    takes = {*inspect.signature(MODELS.get(decoder['type'])).parameters, *decoder}
    decoder.update({key: value for key, value in smaller.items() if key in takes})
    model['head']['in_dims'] = width  # a decoder of the user's own need not have embed_dims
    masking = model.get('masking') or {}
    if builds(MODELS, masking, MODELS.get('BlockMasking'), 'mae_plugin'):
        # The least block keeps its share of the grid.
        old = model['backbone']['img_size'] / model['backbone']['patch_size']
        share = (scale.img_size / scale.patch_size / old) ** 2
        masking['min_patches'] = max(1, round(masking.get('min_patches', 16) * share))
    target = model['head']['target']
    if 'num_components' in target:
        share = (scale.patch_size / model['backbone']['patch_size']) ** 2
        target['num_components'] = round(target['num_components'] * share)
    for part in (model, cfg['train_dataloader']):
        for item in _dicts(part):
            for key, new in (
                ('img_size', scale.img_size),
                ('size', scale.img_size),
                ('patch_size', scale.patch_size),
            ):
                if isinstance(item.get(key), int):
                    item[key] = new
    cfg['train_dataloader']['sampler']['batch_size'] = scale.batch_size
    cfg['train_dataloader'].update(
        batch_size=scale.batch_size,
        num_workers=scale.workers,
        persistent_workers=scale.workers > 0,
        pin_memory=scale.workers > 0,
    )
    _set_schedule(cfg, scale)
    hooks, fit = cfg.get('custom_hooks', []), HOOKS.get('PCAFitHook')
    cfg['custom_hooks'] = [h for h in hooks if builds(HOOKS, h, fit, 'mae_plugin')]
    cfg['default_hooks'] = dict(cfg['default_hooks'], checkpoint=None)
    return cfg


def _set_schedule(cfg: dict, scale: Scale) -> None:
    epochs = cfg['train_cfg']['max_epochs']
    iterations = max(1, round(epochs * scale.iterations))
    warmup = max(1, round(cfg['warmup_epochs'] * scale.iterations))
    cfg['train_cfg'] = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=10**9)
    cfg['param_scheduler'] = [
        dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=warmup),
        dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=warmup, end=iterations),
    ]
    cfg['optim_wrapper']['optimizer']['lr'] = scale.lr
    cfg['auto_scale_lr'] = dict(enable=False, base_batch_size=scale.batch_size)


def _width(dims: int, scale: Scale) -> int:
    return max(4, 4 * round(dims * scale.width / 4))


def _depth(blocks: int, factor: float) -> int:
    return max(1, math.floor(blocks * factor + 0.5))


def _in_layers(in_layers: int | Sequence[int], scale: Scale) -> int | list[int]:
    """As many of the last blocks, or blocks at the same places."""
    if isinstance(in_layers, int):
        return _depth(in_layers, scale.encoder_depth)
    return sorted({_depth(block + 1, scale.encoder_depth) - 1 for block in in_layers})


def _heads(dims: int, scale: Scale) -> int:
    """The number of heads nearest to the scale's head width that divides ``dims``."""
    wanted = dims / scale.head_dims
    return min((n for n in range(1, dims + 1) if dims % n == 0), key=lambda n: abs(n - wanted))


def _dicts(item: object) -> Iterator[dict]:
    """All dicts inside nested dicts and lists, the outermost first."""
    if isinstance(item, dict):
        yield item
        item = list(item.values())
    if isinstance(item, (list, tuple)):
        for part in item:
            yield from _dicts(part)
