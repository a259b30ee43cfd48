"""The config of a detector or a segmentor on a run's encoder, as text."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader

from mae_plugin.cli.transfer.data import Labelled
from mae_plugin.cli.transfer.run import PretrainedRun

_LARGEST = {'mmdet': 1024, 'mmseg': 512}  # ViTDet's and ADE20K's sizes
_MAX_GLOBAL = 1024  # tokens that every block may see at once
_BATCH = 8
_SCALES: dict[str, dict[int, tuple[float, ...]]] = {
    'mmdet': {4: (1, 0.5), 8: (2, 1, 0.5)},
    'mmseg': {4: (1, 1, 0.5, 0.5), 8: (2, 1, 1, 0.5)},
}
_FOUR: tuple[float, ...] = (4, 2, 1, 0.5)


def write_config(run: PretrainedRun, data: Labelled, host: str, out: Path) -> str:
    """The config's text.

    Args:
        run: The pretraining.
        data: The labelled images.
        host: 'mmdet' or 'mmseg'.
        out: Folder of the config and of the lists that it names.
    """
    patch, depth, dims = run.patch_size, run.sizes.num_layers, run.sizes.embed_dims
    side = data.sides[1] if host == 'mmdet' else data.sides[0]
    unit = max(32, patch)
    size = max(unit, min(_LARGEST[host], math.ceil(side / unit) * unit))
    windows = host == 'mmdet' and not run.rotary and (size // patch) ** 2 > _MAX_GLOBAL
    encoder = dict(run.encoder)
    if windows:
        # Windows leave no place for tokens.
        encoder['with_cls_token'] = False
        if encoder.get('num_register_tokens', run.sizes.num_register_tokens):
            encoder['num_register_tokens'] = 0
    if host == 'mmseg' and run.sizes.layer_scale_init is None:
        encoder.setdefault('layer_scale_init', 1.0)  # as in MAE's UperNet; it starts as identity
    scales = _SCALES[host].get(patch, _FOUR)
    strides = [int(patch / scale) for scale in scales]
    while host == 'mmdet' and len(strides) < 5:
        strides.append(strides[-1] * 2)
    aux = min(256, dims)
    images = len(data.train.names)
    batch = max(1, min(_BATCH, images // 2))
    iterations = max(1, images // batch)
    epochs = max(12, min(100, math.ceil(20_000 / iterations)))
    plain = run.channels == 3 and not run.decoding
    pages = Environment(
        loader=PackageLoader('mae_plugin.cli', 'transfer'), keep_trailing_newline=True
    )
    pages.filters['pprint'] = repr
    text = pages.get_template(f'{host}.py.j2').render(
        run=run,
        data=data,
        out=out.resolve(),
        size=size,
        padded=math.ceil(size / 32) * 32,
        windows=windows,
        encoder=encoder,
        quarters=_quarters(depth, host),
        scales=scales,
        strides=strides,
        aux=aux,
        groups=_groups(math.gcd(dims, aux)),
        stride=size * 2 // 3,
        in_pipeline=run.channels not in (1, 3),
        options=not plain,
        bands=_shown(run.channels),
        batch=batch,
        workers=min(4, os.cpu_count() or 1),
        epochs=epochs,
        iterations=iterations,
        interval=max(1, epochs // 10),
        warmup=math.ceil(10 / iterations),  # one epoch, or ten iterations where that is shorter
        weight_decay=0.1 if host == 'mmdet' else 0.05,
        layer_decay={12: 0.7, 24: 0.8, 32: 0.9}.get(depth, 0.7 if depth < 12 else 0.8),
    )
    return text.rstrip() + '\n'


def _quarters(depth: int, host: str) -> tuple[int, ...]:
    """Last blocks of four groups, as the papers choose them where they do."""
    if host == 'mmseg' and depth in (12, 24):
        return {12: (3, 5, 7, 11), 24: (7, 11, 15, 23)}[depth]
    return tuple(max(0, math.ceil(depth * part / 4) - 1) for part in (1, 2, 3, 4))


def _groups(width: int) -> int:
    """Groups of at least four channels, at most 32."""
    return next(count for count in (32, 16, 8, 4, 2, 1) if width % (count * 4) == 0 or count == 1)


def _shown(channels: int) -> Sequence[int] | None:
    return [3, 2, 1] if channels > 3 else None
