"""Write a checkpoint in a peer's layout."""

import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.files import atomic_write
from mae_plugin.logs import log

from . import formats, formats_beside
from .fit import fold_layer_scale
from .recognise import Recognised, lookup, recognise
from .report import shorten

_DECODER = ('decoder.', 'head.pred.')
_CLASSIFIER = ('neck.fc_norm.', 'head.fc.')
# What the peers' classifiers pool, by the norm behind it.
_POOLS = {'layer': 'avg', 'batch': 'cls', None: 'cls'}


class Layout(NamedTuple):
    """One layout to write.

    Attributes:
        encoder: Table of the encoder, theirs -> ours.
        layer_scale: Names of ``gamma_1`` and ``gamma_2``; None if the peer has none, so that they
            are multiplied into the weights.
        decoder: Table of the decoder; None if the peer has no MAE decoder.
        encoder_prefix: What precedes the encoder's keys beside a decoder.
        prefix: What precedes the encoder's keys when it is alone.
        classifiers: Tables of what the peer has behind the encoder, theirs -> ours, whole names,
            by the norm after pooling: 'layer' over averaged patches, 'batch' (a linear probe's) or
            None over the class token.
        wrapper: Key under which a .pth keeps the tensors; None for a bare dict.
    """

    encoder: dict[str, str]
    layer_scale: tuple[str, str] | None = None
    decoder: dict[str, str] | None = None
    encoder_prefix: str = ''
    prefix: str = ''
    classifiers: Mapping[str | None, dict[str, str]] = {}
    wrapper: str | None = None


_OFFICIAL_CLASSIFIERS: dict[str | None, dict[str, str]] = {
    'layer': formats_beside.OFFICIAL_HEAD,
    'batch': formats_beside.OFFICIAL_PROBE,
    None: formats_beside.OFFICIAL_HEAD,
}
_MMPRETRAIN_CLASSIFIERS: dict[str | None, dict[str, str]] = {
    'layer': {'backbone.ln2': 'neck.fc_norm', 'head.fc': 'head.fc'},
    'batch': formats_beside.MMPRETRAIN_PROBE,
    None: formats_beside.MMPRETRAIN_HEAD,
}
LAYOUTS = {
    'official': Layout(
        formats.OFFICIAL,
        decoder=formats_beside.OFFICIAL_DECODER,
        classifiers=_OFFICIAL_CLASSIFIERS,
        wrapper='model',
    ),
    'timm': Layout(
        formats.OFFICIAL,
        ('blocks.{}.ls1.gamma', 'blocks.{}.ls2.gamma'),
        classifiers={'layer': formats_beside.OFFICIAL_HEAD, None: formats_beside.OFFICIAL_HEAD},
    ),
    'huggingface': Layout(
        formats.HF,
        decoder=formats_beside.HF_DECODER,
        encoder_prefix='vit.',
        classifiers={None: {'classifier': 'head.fc'}},
    ),
    'mmpretrain': Layout(
        formats.MMPRETRAIN,
        ('layers.{}.attn.gamma1.weight', 'layers.{}.ffn.gamma2.weight'),
        formats_beside.MMPRETRAIN_DECODER,
        encoder_prefix='backbone.',
        prefix='backbone.',
        classifiers=_MMPRETRAIN_CLASSIFIERS,
        wrapper='state_dict',
    ),
    # mmseg's backbones strip no prefix: bare keys. The first is its VisionTransformer.
    'mmseg': Layout(formats.MMSEG, wrapper='state_dict'),
    'mmseg-mae': Layout(
        formats.MMPRETRAIN, ('layers.{}.gamma_1', 'layers.{}.gamma_2'), wrapper='state_dict'
    ),
}


def export_checkpoint(
    content: Mapping[str, Any], to: str, part: str = 'encoder', prefix: str | None = None
) -> dict[str, Tensor]:
    """Translate a checkpoint of any known layout to a peer's, and log what has no place in it.

    Args:
        content: What ``safe_load`` returned, or a state dict.
        to: A key of :data:`LAYOUTS`.
        part: 'encoder', with a classifier's norm and head where the peer has a place for them; or
            'full' for encoder and decoder.
        prefix: What precedes the encoder's keys in the file; found when None.

    Returns:
        Tensors under the peer's keys, without the wrapper.

    Raises:
        UserError: If the file holds no ViT, or the peer cannot represent what it holds.
    """
    if to not in LAYOUTS or part not in ('encoder', 'full'):
        raise UserError(
            f"to='{to}', part='{part}': choose `to` from {', '.join(LAYOUTS)} and `part` from "
            'encoder, full'
        )
    layout = LAYOUTS[to]
    found = recognise(content, prefix)
    encoder = dict(found.encoder)
    _drop_relative_positions(encoder, to)
    table = {ours: theirs for theirs, ours in layout.encoder.items()}
    if layout.layer_scale is None:
        fold_layer_scale(encoder)
    else:
        table |= {f'blocks.{{}}.gamma_{i}': key for i, key in enumerate(layout.layer_scale, 1)}
        if to == 'mmseg-mae':
            _add_unit_layer_scale(encoder)
    classifier = _export_classifier(found, layout)
    is_alone = part == 'encoder' and not any(
        name.startswith('head.') for name in classifier.values()
    )
    exported = _rename(encoder, table, layout.prefix if is_alone else layout.encoder_prefix)
    exported |= {theirs: found.rest[ours] for theirs, ours in classifier.items()}
    if part == 'full':
        exported |= _export_decoder(found.rest, layout, to)
    known = {*classifier.values()}
    left_out = [k for k in found.rest if k not in known and not k.startswith(_DECODER)]
    if left_out:
        log(f'{to} (the {part}) has no place for {shorten(left_out)}', logging.WARNING)
    return exported


def _export_classifier(found: Recognised, layout: Layout) -> dict[str, str]:
    """The peer's names of what a classifier has behind the encoder, and ours; empty for no place.

    A head that was trained on another pooling than the peer's would be another classifier there.
    """
    names = [name for name in found.rest if name.startswith(_CLASSIFIER)]
    norm = None
    if any(name.startswith('neck.fc_norm.') for name in names):
        norm = 'batch' if 'neck.fc_norm.running_mean' in names else 'layer'
    pool = found.facts.pool
    if norm not in layout.classifiers or (
        pool is not None and not pool.is_assumed and pool.value != _POOLS[norm]
    ):
        return {}
    table = {ours: theirs for theirs, ours in layout.classifiers[norm].items()}
    renamed = {lookup(name, table): name for name in names}
    return {theirs: ours for theirs, ours in renamed.items() if theirs is not None}


def write_export(path: str | Path, tensors: Mapping[str, Tensor], to: str) -> None:
    """Write exported tensors, atomically, as ``.safetensors`` or ``.pth``.

    Raises:
        UserError: If the suffix is another one.
    """
    path = Path(path)
    # Contiguous copies: neither a view's whole storage nor shared memory is to be written.
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    if path.suffix == '.safetensors':
        from safetensors.torch import save

        atomic_write(path, save(tensors, metadata={'format': 'pt'}))
    elif path.suffix in ('.pth', '.pt', '.bin'):
        wrapper = LAYOUTS[to].wrapper
        buffer = io.BytesIO()
        torch.save(tensors if wrapper is None else {wrapper: tensors}, buffer)
        atomic_write(path, buffer.getbuffer())
    else:
        raise UserError(f"{path}: the name must end in .safetensors or .pth, not '{path.suffix}'")


def _rename(state: Mapping[str, Tensor], table: dict[str, str], prefix: str) -> dict[str, Tensor]:
    """Our names to theirs, ``attn.qkv`` split in three where the peer's table has it so."""
    renamed: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        theirs = lookup(name, table)
        if theirs is not None:
            renamed[prefix + theirs] = tensor
            continue
        parts = [lookup(name.replace('attn.qkv', f'attn.{part}'), table) for part in 'qkv']
        if None in parts:
            unknown.append(name)
            continue
        for part, piece in zip(parts, tensor.chunk(3)):
            renamed[f'{prefix}{part}'] = piece
    if unknown:
        raise UserError(f'that layout has no place for {shorten(unknown)}')
    return renamed


def _export_decoder(rest: Mapping[str, Tensor], layout: Layout, to: str) -> dict[str, Tensor]:
    if layout.decoder is None:
        raise UserError(f"{to} has no MAE decoder: export part='encoder'")
    decoder = {k: v for k, v in rest.items() if k.startswith(_DECODER)}
    if not decoder:
        raise UserError("the file has no MAE decoder: export part='encoder'")
    return _rename(decoder, {ours: theirs for theirs, ours in layout.decoder.items()}, '')


def _drop_relative_positions(encoder: dict[str, Tensor], to: str) -> None:
    names = [name for name in encoder if re.search(r'rel_pos_[hw]$', name)]
    if any(encoder[name].any() for name in names):
        raise UserError(
            f'its attention has relative positions ({shorten(names)}), which a plain ViT of {to} '
            'cannot represent: export the pretrained file instead of the fine-tuned one'
        )
    for name in names:
        del encoder[name]


def _add_unit_layer_scale(encoder: dict[str, Tensor]) -> None:
    """mmseg's MAE always has layer scales, and would keep its own 0.1 where a file has none."""
    for name in [name for name in encoder if name.endswith('norm1.weight')]:
        block = name.removesuffix('norm1.weight')
        for which in ('gamma_1', 'gamma_2'):
            encoder.setdefault(block + which, torch.ones_like(encoder[name]))
