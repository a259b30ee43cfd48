"""Say in words what a checkpoint holds, and what loading it would do."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mae_plugin.checkpoint.load import adapt
from mae_plugin.checkpoint.recognise import Recognised, recognise
from mae_plugin.checkpoint.report import LoadReport, shorten
from mae_plugin.checkpoint.resize import find_grid
from mae_plugin.checkpoint.sizes import Sizes, sizes
from mae_plugin.checkpoint.spec import model_spec
from mae_plugin.geometry import Grid, sincos_pos_embed
from mae_plugin.models.cross_decoder import CrossAttentionDecoder
from mae_plugin.models.decoder import MAEDecoder
from mae_plugin.models.dense.vit_backbone import ViTBackbone
from mae_plugin.models.mae import MAE
from mae_plugin.models.masking import RandomMasking
from mae_plugin.models.reconstruction_head import ReconstructionHead
from mae_plugin.models.targets import PixelTarget
from mae_plugin.models.vit import ViT


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
        f'  positions  {_positions(found, size)}',
        f'  extras     {", ".join(_extras(found)) or "none"}',
        f'  heads      {found.facts.num_heads or "not known: nothing tells them"}',
        f'  loaded into (num_heads={_num_heads(found, size)})',
    ]
    for name, model in _models(found, size).items():
        try:
            _, report, _ = adapt(content, model_spec(model), source, prefix)
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
        return find_grid(table, None, 'cls_token' in found.encoder)[1]
    except ValueError:
        return None


def _positions(found: Recognised, size: Sizes) -> str:
    table, grid = found.encoder.get('pos_embed'), _grid(found)
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
    if decoder is not None:
        kind = 'MAE decoder' if isinstance(decoder, MAEDecoder) else 'cross-attention decoder'
        extras.append(f'{kind} of {len(decoder.blocks)} blocks, width {decoder.embed_dims}')
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


def _decoder(found: Recognised) -> MAEDecoder | CrossAttentionDecoder | None:
    """Ours of the file's own sizes, without weights; None if there is none, or another one."""
    state = _decoder_state(found)
    size = sizes(found.encoder)
    try:
        embed_dims, in_dims = state['embed.weight'].shape
        shared: dict[str, Any] = dict(
            in_dims=in_dims,
            embed_dims=embed_dims,
            depth=len({name.split('.')[1] for name in state if name.startswith('blocks.')}),
            num_heads=1,
            img_size=_img_size(found, size),
            patch_size=size.patch_size,
            mlp_ratio=state['blocks.0.mlp.fc1.weight'].shape[0] / embed_dims,
        )
        with torch.device('meta'):
            decoder: MAEDecoder | CrossAttentionDecoder
            if 'blocks.0.attn.kv.weight' in state:
                in_layers = state['mix'].shape[1] if 'mix' in state else 1
                decoder = CrossAttentionDecoder(**shared, in_layers=in_layers)
            else:
                decoder = MAEDecoder(**shared, with_mask_token='mask_token' in state)
    except (KeyError, IndexError, ValueError):
        return None
    return decoder if decoder.state_dict().keys() == state.keys() else None


def _img_size(found: Recognised, size: Sizes) -> Grid:
    """Image (H, W) of the position embeddings, or 224 pixels."""
    h, w = _grid(found) or (224 // size.patch_size,) * 2
    return h * size.patch_size, w * size.patch_size


def _num_heads(found: Recognised, size: Sizes) -> int:
    if found.facts.num_heads is not None:
        return found.facts.num_heads.value
    return next(heads for heads in (max(1, size.width // 64), 1) if size.width % heads == 0)


def _models(found: Recognised, size: Sizes) -> dict[str, Any]:
    """Our models at the file's own sizes; without weights, on the meta device."""
    arch = dict(
        embed_dims=size.width,
        num_layers=size.depth,
        num_heads=_num_heads(found, size),
        mlp_ratio=size.hidden / size.width,
    )
    shared: dict[str, Any] = dict(img_size=_img_size(found, size), patch_size=size.patch_size)
    encoder = shared | dict(in_channels=size.in_channels, with_cls_token=size.cls_token)
    decoder = _decoder(found)
    with torch.device('meta'):
        models: dict[str, Any] = {
            'ViT': ViT(arch, **encoder),
            'ViTBackbone': ViTBackbone(arch, **encoder),
        }
        if decoder is None and _decoder_state(found):
            return models
        decoder = decoder or MAEDecoder(size.width, num_heads=1, **shared)
        target = PixelTarget(size.patch_size, size.in_channels)
        head = ReconstructionHead(decoder.embed_dims, target)
        models['MAE'] = MAE(ViT(arch, **encoder), decoder, head, RandomMasking())
    return models


def _outcome(report: LoadReport) -> str:
    parts = [f'{len(report.loaded)} tensors as they are']
    if report.changed:
        parts.append(f'{len(report.changed)} changed')
    parts.append(f'left at initialisation: {shorten(report.initial) or "nothing"}')
    parts.append(f'ignored: {shorten(report.ignored, 4) or "nothing"}')
    return '; '.join(parts)
