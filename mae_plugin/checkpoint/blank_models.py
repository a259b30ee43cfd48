"""Our models as names and shapes, at the sizes of a file, to say how it would load into them.

Building the models themselves takes mmengine, whose import costs more than all the rest.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mae_plugin.geometry import Grid

from .sizes import Sizes
from .spec import ModelSpec, TrunkSpec

Shapes = dict[str, tuple[int, ...]]


def blank_models(
    size: Sizes,
    grid: Grid,
    num_heads: int,
    decoder: Mapping[str, Tensor] | None,
    rotary: bool = False,
) -> dict[str, ModelSpec]:
    """``ViT``, ``ViTBackbone`` and ``MAE``, without weights.

    Args:
        size: Of the file's encoder.
        grid: Patch grid (h, w) of its position embeddings.
        num_heads: Its attention heads.
        decoder: Tensors of a decoder of ours in the file; empty if there is none, so that ours is
            the paper's; None if there is one of another kind, and then there is no MAE.
        rotary: Whether positions are rotary, so that there is no table of them.
    """
    shapes = _vit(size, grid)
    if rotary:
        del shapes['pos_embed']
        shapes['positions.periods'] = (size.width // num_heads // 4,)
    vit = _blank(shapes)
    dense = {name: tensor for name, tensor in vit.items() if not name.startswith('norm.')}
    facts = (grid, size.cls_tokens, num_heads, 1e-6, (0,) * size.depth)
    trunk = TrunkSpec('ViT', vit, *facts)
    models = {
        'ViT': ModelSpec(vit, {'': trunk}),
        'ViTBackbone': ModelSpec(dense, {'': TrunkSpec('ViTBackbone', dense, *facts)}),
    }
    if decoder is not None:
        parts = decoder or _blank(_decoder(size.width, grid))
        width = parts['embed.weight'].shape[0]
        pixels = size.patch_size**2 * size.in_channels
        tensors = {f'backbone.{name}': tensor for name, tensor in vit.items()}
        tensors |= {f'decoder.{name}': tensor for name, tensor in parts.items()}
        tensors |= _blank({'head.pred.weight': (pixels, width), 'head.pred.bias': (pixels,)})
        models['MAE'] = ModelSpec(tensors, {'backbone.': trunk}, grid)
    return models


def is_decoder(names: set[str]) -> bool:
    """Whether a decoder's names are those of the paper's, or of cross-attention, in ours."""
    depth = len({name.split('.')[1] for name in names if name.startswith('blocks.')})
    attention = ('q', 'kv') if 'blocks.0.attn.kv.weight' in names else ('qkv',)
    own = set(_decoder(1, (1, 1), depth, attention))
    names = {name for name in names if not name.startswith('fusion.')}
    if len(attention) == 2:
        own |= {'norm_visible.weight', 'norm_visible.bias'}
        return depth > 0 and names - {'mix'} == own
    return depth > 0 and names | {'mask_token'} == own


def _vit(size: Sizes, grid: Grid) -> Shapes:
    width, patch = size.width, size.patch_size
    tokens = {'cls_token': size.cls_tokens, 'register_tokens': size.register_tokens}
    shapes: Shapes = {name: (1, count, width) for name, count in tokens.items() if count}
    shapes |= {
        'pos_embed': (1, size.cls_tokens + grid[0] * grid[1], width),
        'patch_embed.proj.weight': (width, size.in_channels, patch, patch),
        'patch_embed.proj.bias': (width,),
    }
    blocks = _blocks(width, size.hidden, size.depth, mlp=size.mlp)
    return shapes | blocks | _norm('norm', width)


def _decoder(
    in_width: int,
    grid: Grid,
    depth: int = 8,
    attention: tuple[str, ...] = ('qkv',),
    width: int = 512,
) -> Shapes:
    shapes: Shapes = {
        'mask_token': (1, 1, width),
        'pos_embed': (1, 1 + grid[0] * grid[1], width),
        'embed.weight': (width, in_width),
        'embed.bias': (width,),
    }
    return shapes | _blocks(width, 4 * width, depth, attention) | _norm('norm', width)


def _blocks(
    width: int,
    hidden: int,
    depth: int,
    attention: tuple[str, ...] = ('qkv',),
    mlp: str = 'gelu',
) -> Shapes:
    shapes: Shapes = {}
    for index in range(depth):
        block = f'blocks.{index}'
        layers = {f'attn.{name}': (len(name) * width, width) for name in attention}
        layers |= {
            'attn.proj': (width, width),
        }
        if mlp == 'swiglu':
            layers |= {'mlp.w12': (2 * hidden, width), 'mlp.w3': (width, hidden)}
        else:
            layers |= {'mlp.fc1': (hidden, width), 'mlp.fc2': (width, hidden)}
        for name, (rows, columns) in layers.items():
            shapes[f'{block}.{name}.weight'] = (rows, columns)
            shapes[f'{block}.{name}.bias'] = (rows,)
        shapes |= _norm(f'{block}.norm1', width) | _norm(f'{block}.norm2', width)
    return shapes


def _norm(name: str, width: int) -> Shapes:
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def _blank(shapes: Shapes) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
