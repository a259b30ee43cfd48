"""Say in words what a checkpoint holds, and what loading it would do."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mae_plugin.models.decoder import MAEDecoder
from mae_plugin.models.mae import MAE
from mae_plugin.models.masking import RandomMasking
from mae_plugin.models.pos_embed import sincos_pos_embed
from mae_plugin.models.reconstruction_head import ReconstructionHead
from mae_plugin.models.targets import PixelTarget
from mae_plugin.models.vit import ARCHS, ViT
from mae_plugin.models.vit_backbone import ViTBackbone

from .fit import Sizes, sizes
from .load import adapt
from .recognise import Recognised, recognise
from .report import LoadReport, shorten


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
        f'  positions  {_positions(found.encoder, size)}',
        f'  extras     {", ".join(_extras(found)) or "none"}',
        f'  loaded into (num_heads={_num_heads(size)} assumed: no key tells)',
    ]
    for name, model in _models(found, size).items():
        try:
            _, report, _ = adapt(content, model, source, prefix)
            outcome = _outcome(report)
        except ValueError as error:
            outcome = f'refused: {error}'
        lines.append(f'    {name + ":":<13}{outcome}')
    return '\n'.join(lines)


def _positions(encoder: Mapping[str, Tensor], size: Sizes) -> str:
    table = encoder.get('pos_embed')
    if table is None:
        return 'none'
    side = _side(size)
    if side is None:
        return f'{size.positions} rows, not a square grid'
    kind = 'learned or resized'
    if size.width % 4 == 0:
        sincos = sincos_pos_embed(size.width, (side, side))
        if torch.allclose(table[:, -side * side :].float(), sincos, atol=1e-4):
            kind = 'fixed sin-cos'
    return f'{side}x{side} grid (images of {side * size.patch_size} pixels), {kind}'


def _side(size: Sizes) -> int | None:
    """Side of the square grid, with or without the class token's row; None if there is none."""
    for length in (size.positions - 1, size.positions):
        if length > 0 and math.isqrt(length) ** 2 == length:
            return math.isqrt(length)
    return None


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
    decoder = _decoder(found)
    if decoder:
        extras.append(f'MAE decoder of {decoder["depth"]} blocks, width {decoder["embed_dims"]}')
    others = [key for key in found.rest if not (decoder and key.startswith(('decoder.', 'head.')))]
    if others:
        extras.append(f'also {shorten(others)}')
    return extras


def _decoder(found: Recognised) -> dict[str, int]:
    embed = found.rest.get('decoder.embed.weight')
    if embed is None:
        return {}
    blocks = {key.split('.')[2] for key in found.rest if key.startswith('decoder.blocks.')}
    return dict(embed_dims=embed.shape[0], depth=len(blocks))


def _num_heads(size: Sizes) -> int:
    if size.arch in ARCHS:
        return ARCHS[size.arch].num_heads
    return next(heads for heads in (max(1, size.width // 64), 1) if size.width % heads == 0)


def _models(found: Recognised, size: Sizes) -> dict[str, Any]:
    """Our models at the file's own sizes; without weights, on the meta device."""
    arch = dict(
        embed_dims=size.width,
        num_layers=size.depth,
        num_heads=_num_heads(size),
        mlp_ratio=size.hidden / size.width,
    )
    img_size = (_side(size) or 224 // size.patch_size) * size.patch_size
    shared: dict[str, Any] = dict(img_size=img_size, patch_size=size.patch_size)
    encoder = shared | dict(in_channels=size.in_channels, with_cls_token=size.cls_token)
    decoder: dict[str, Any] = dict(embed_dims=512, depth=8) | _decoder(found)
    target = PixelTarget(size.patch_size, size.in_channels)
    with torch.device('meta'):
        return {
            'ViT': ViT(arch, **encoder),
            'ViTBackbone': ViTBackbone(arch, **encoder),
            'MAE': MAE(
                ViT(arch, **encoder),
                MAEDecoder(size.width, num_heads=1, **decoder, **shared),
                ReconstructionHead(decoder['embed_dims'], target),
                RandomMasking(),
            ),
        }


def _outcome(report: LoadReport) -> str:
    parts = [f'{len(report.loaded)} tensors as they are']
    if report.changed:
        parts.append(f'{len(report.changed)} changed')
    parts.append(f'left at initialisation: {shorten(report.initial) or "nothing"}')
    parts.append(f'ignored: {shorten(report.ignored, 4) or "nothing"}')
    return '; '.join(parts)
