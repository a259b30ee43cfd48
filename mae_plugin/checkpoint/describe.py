"""Say in words what a checkpoint holds, and what loading it would do."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mae_plugin.arch import Arch
from mae_plugin.geometry import Grid, sincos_pos_embed

from .blank_models import blank_models, is_decoder
from .encoder_arch import arch_name, encoder_arch
from .load import adapt
from .recognise import Recognised, recognise
from .report import LoadReport, shorten
from .resize import find_grid
from .sizes import Sizes, sizes


def describe(content: Mapping[str, Any], source: str, prefix: str | None = None) -> str:
    """Describe a checkpoint in a few lines.

    Args:
        content: What ``safe_load`` returned.
        source: The file's name.
        prefix: What precedes the encoder's keys in the file; found when None.

    Returns:
        Layout, sizes and extras, and the outcome of loading it into each of our models.

    Raises:
        ValueError: If it holds no ViT.
    """
    found = recognise(content, prefix)
    size = sizes(found.encoder)
    lines = [
        source,
        f'  layout     {found.format.name}, encoder under {found.root!r}',
        f'  encoder    {size}',
        f'  arch       {_arch(found, size)}',
        f'  positions  {_positions(found, size)}',
        f'  extras     {", ".join(_extras(found)) or "none"}',
        f'  heads      {found.facts.num_heads or "not known: nothing tells them"}',
        f'  loaded into (num_heads={_num_heads(found, size)})',
    ]
    grid = _grid(found) or (224 // size.patch_size,) * 2
    rotary = _is_rotary(found)
    models = blank_models(size, grid, _num_heads(found, size), _decoder(found), rotary)
    for name, model in models.items():
        try:
            _, report, _ = adapt(content, model, source, prefix)
            outcome = _outcome(report)
        except ValueError as error:
            outcome = f'refused: {error}'
        lines.append(f'    {name + ":":<13}{outcome}')
    return '\n'.join(lines)


def _grid(found: Recognised) -> Grid | None:
    """Grid of the position embeddings; None if there are none, or nothing tells their shape."""
    table = found.encoder.get('pos_embed')
    if table is None or found.grid is not None:
        return found.grid
    try:
        size = sizes(found.encoder)
        return find_grid(table, None, size.cls_tokens, size.register_tokens)[1]
    except ValueError:
        return None


def _arch(found: Recognised, size: Sizes) -> str:
    """What to write for it in a config."""
    arch = encoder_arch(found, _num_heads(found, size), _grid(found))
    name = arch_name(arch)
    if name is not None:
        return f"arch='{name}'"
    plain = {
        field: value
        for field, value in arch._asdict().items()
        if field not in Arch._field_defaults or value != Arch._field_defaults[field]
    }
    return f'no name of its own: arch={plain}'


def _is_rotary(found: Recognised) -> bool:
    return found.format.rotary_base is not None or 'positions.periods' in found.encoder


def _positions(found: Recognised, size: Sizes) -> str:
    table, grid = found.encoder.get('pos_embed'), _grid(found)
    if _is_rotary(found):
        periods = found.encoder.get('positions.periods')
        if periods is None:
            return f'rotary, of base {found.format.rotary_base:g}: the file keeps none'
        return f'rotary, {periods.numel()} periods up to {periods.max().item():.3g}'
    if table is None:
        return 'none'
    if grid is None:
        return f'{size.positions} rows, of no grid that can be told'
    h, w = grid
    kind = 'learned or resized'
    if size.width % 4 == 0:
        sincos = sincos_pos_embed(size.width, grid)
        if torch.allclose(table[:, -h * w :].float(), sincos, atol=1e-4):
            kind = 'fixed sin-cos'
    return f'{h}x{w} grid (images of {_pixels(h * size.patch_size, w * size.patch_size)}), {kind}'


def _pixels(height: int, width: int) -> str:
    return f'{height} pixels' if height == width else f'{height}x{width} pixels'


def _extras(found: Recognised) -> list[str]:
    names = set(found.encoder)
    extras = []
    if 'norm.weight' not in names:
        extras.append('no final norm')
    if 'blocks.0.attn.qkv.bias' not in names:
        extras.append('no qkv bias')
    if 'blocks.0.gamma_1' in names:
        extras.append('layer scale')
    if 'blocks.0.attn.rel_pos_h' in names:
        extras.append('relative positions')
    decoder, has_one = _decoder(found), bool(_decoder_state(found))
    if decoder:
        kind = 'cross-attention' if 'blocks.0.attn.kv.weight' in decoder else 'MAE'
        depth = len({name.split('.')[1] for name in decoder if name.startswith('blocks.')})
        width = decoder['embed.weight'].shape[0]
        extras.append(f'{kind} decoder of {depth} blocks, width {width}')
    elif has_one:
        extras.append(f'decoder of another kind ({shorten(_decoder_state(found), 4)})')
    others = [key for key in found.rest if not (has_one and key.startswith(('decoder.', 'head.')))]
    if others:
        extras.append(f'also {shorten(others)}')
    return extras


def _decoder_state(found: Recognised) -> dict[str, Tensor]:
    """The decoder's tensors, without the prefix of their names."""
    return {
        key.removeprefix('decoder.'): tensor
        for key, tensor in found.rest.items()
        if key.startswith('decoder.')
    }


def _decoder(found: Recognised) -> dict[str, Tensor] | None:
    """The decoder's tensors if it is one of ours; empty without one; None for another kind."""
    state = _decoder_state(found)
    return state if not state or is_decoder(set(state)) else None


def _num_heads(found: Recognised, size: Sizes) -> int:
    if found.facts.num_heads is not None:
        return found.facts.num_heads.value
    return next(heads for heads in (max(1, size.width // 64), 1) if size.width % heads == 0)


def _outcome(report: LoadReport) -> str:
    parts = [f'{len(report.loaded)} tensors as they are']
    if report.changed:
        parts.append(f'{len(report.changed)} changed')
    parts.append(f'left at initialisation: {shorten(report.initial) or "nothing"}')
    parts.append(f'ignored: {shorten(report.ignored, 4) or "nothing"}')
    return '; '.join(parts)
