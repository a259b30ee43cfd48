"""Write a checkpoint in a peer's layout."""

import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.files import atomic_write

from . import formats
from .fit import fold_layer_scale
from .recognise import lookup, recognise
from .report import shorten

_DECODER = ('decoder.', 'head.pred.')
# A linear probe's BatchNorm has the name too, and other tensors.
_FC_NORM = ('neck.fc_norm.weight', 'neck.fc_norm.bias')


class Target(NamedTuple):
    """One layout to write.

    Attributes:
        encoder: Table of the encoder, theirs -> ours.
        layer_scale: Names of ``gamma_1`` and ``gamma_2``; None if the peer has none, so that they
            are multiplied into the weights.
        decoder: Table of the decoder; None if the peer has no MAE decoder.
        encoder_prefix: What precedes the encoder's keys beside a decoder.
        prefix: What precedes the encoder's keys when it is alone.
        fc_norm: Name of the norm after average pooling; None if the peer has none.
        wrapper: Key under which a .pth keeps the tensors; None for a bare dict.
    """

    encoder: dict[str, str]
    layer_scale: tuple[str, str] | None = None
    decoder: dict[str, str] | None = None
    encoder_prefix: str = ''
    prefix: str = ''
    fc_norm: str | None = None
    wrapper: str | None = None


TARGETS = {
    'official': Target(
        formats.OFFICIAL, decoder=formats.OFFICIAL_DECODER, fc_norm='fc_norm', wrapper='model'
    ),
    'timm': Target(
        formats.OFFICIAL, ('blocks.{}.ls1.gamma', 'blocks.{}.ls2.gamma'), fc_norm='fc_norm'
    ),
    'huggingface': Target(formats.HF, decoder=formats.HF_DECODER, encoder_prefix='vit.'),
    'mmpretrain': Target(
        formats.MMPRETRAIN,
        ('layers.{}.attn.gamma1.weight', 'layers.{}.ffn.gamma2.weight'),
        formats.MMPRETRAIN_DECODER,
        encoder_prefix='backbone.',
        prefix='backbone.',
        fc_norm='ln2',
        wrapper='state_dict',
    ),
    # mmseg's backbones strip no prefix: bare keys. The first is its VisionTransformer.
    'mmseg': Target(formats.MMSEG, wrapper='state_dict'),
    'mmseg-mae': Target(
        formats.MMPRETRAIN, ('layers.{}.gamma_1', 'layers.{}.gamma_2'), wrapper='state_dict'
    ),
}


def export_checkpoint(
    content: Mapping[str, Any], to: str, part: str = 'encoder', prefix: str | None = None
) -> dict[str, Tensor]:
    """Translate a checkpoint of any known layout to a peer's, and log what has no place in it.

    Args:
        content: What ``safe_load`` returned, or a state dict.
        to: A key of :data:`TARGETS`.
        part: 'encoder', or 'full' for encoder and decoder.
        prefix: What precedes the encoder's keys in the file; found when None.

    Returns:
        Tensors under the peer's keys, without the wrapper.

    Raises:
        UserError: If the file holds no ViT, or the peer cannot represent what it holds.
    """
    if to not in TARGETS or part not in ('encoder', 'full'):
        raise UserError(
            f"to='{to}', part='{part}': choose `to` from {', '.join(TARGETS)} and `part` from "
            'encoder, full'
        )
    target = TARGETS[to]
    found = recognise(content, prefix)
    encoder = dict(found.encoder)
    _drop_relative_positions(encoder, to)
    table = {ours: theirs for theirs, ours in target.encoder.items()}
    if target.layer_scale is None:
        fold_layer_scale(encoder)
    else:
        table |= {f'blocks.{{}}.gamma_{i}': key for i, key in enumerate(target.layer_scale, 1)}
        if to == 'mmseg-mae':
            _add_unit_layer_scale(encoder)
    beside = target.encoder_prefix if part == 'full' else target.prefix
    exported = _rename(encoder, table, beside)
    norm = {k: v for k, v in found.rest.items() if k in _FC_NORM and target.fc_norm}
    exported |= _rename(norm, {'neck.fc_norm': target.fc_norm or ''}, beside)
    if part == 'full':
        exported |= _export_decoder(found.rest, target, to)
    left_out = [k for k in found.rest if k not in norm and not k.startswith(_DECODER)]
    if left_out:
        print_log(
            f'{to} (the {part}) has no place for {shorten(left_out)}', 'current', logging.WARNING
        )
    return exported


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
        wrapper = TARGETS[to].wrapper
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


def _export_decoder(rest: Mapping[str, Tensor], target: Target, to: str) -> dict[str, Tensor]:
    if target.decoder is None:
        raise UserError(f"{to} has no MAE decoder: export part='encoder'")
    decoder = {k: v for k, v in rest.items() if k.startswith(_DECODER)}
    if not decoder:
        raise UserError("the file has no MAE decoder: export part='encoder'")
    return _rename(decoder, {ours: theirs for theirs, ours in target.decoder.items()}, '')


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
