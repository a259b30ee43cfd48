"""Join what layouts split: queries, keys and values; the two halves of a gated MLP."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mae_plugin.errors import UserError

# Our layer, and its parts in their order.
_JOINED = {
    'attn.qkv': ('attn.q', 'attn.k', 'attn.v'),
    'mlp.w12': ('mlp.gate', 'mlp.up'),
}
_WHOLE = {part: layer for layer, parts in _JOINED.items() for part in parts}
_LAYER = re.compile(r'(?<=\.)(attn|mlp)\.\w+(?=\.(weight|bias)$)')
# Layers of MLPs whose names do not tell whether they are gated.
_GATED = {'mlp.fc1': 'mlp.w12', 'mlp.fc2': 'mlp.w3', 'mlp.down': 'mlp.w3'}
_UNGATED = {'mlp.up': 'mlp.fc1', 'mlp.down': 'mlp.fc2'}
_BIAS_MASK = '.attn.qkv.bias_mask'


def name_mlps(names: Iterable[str], is_gated: bool) -> dict[str, str]:
    """New names of layers by what the MLPs are, for those that change."""
    table = _GATED if is_gated else _UNGATED
    renamed = {name: _LAYER.sub(lambda m: table.get(m[0], m[0]), name) for name in names}
    return {name: new for name, new in renamed.items() if name != new}


def is_gated(shapes: Mapping[str, Tensor]) -> bool:
    """Whether the first MLP has a gate: by its names, or by twice as wide a first layer."""
    block = 'blocks.0.mlp.'
    if f'{block}w3.weight' in shapes or f'{block}gate.weight' in shapes:
        return True
    first, second = (shapes.get(f'{block}fc{i}.weight') for i in (1, 2))
    return first is not None and second is not None and first.shape[0] == 2 * second.shape[1]


def whole_name(name: str) -> str:
    """Name of the tensor that ``name`` becomes, or becomes a part of."""
    if name.endswith(_BIAS_MASK):
        return name.removesuffix('_mask')
    return _LAYER.sub(lambda match: _WHOLE.get(match[0], match[0]), name)


def fuse(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the parts of layers; a missing bias is zero, and so is a masked one (DINOv3).

    Raises:
        UserError: If a part is missing.
    """
    masks = {name: tensor for name, tensor in state.items() if name.endswith(_BIAS_MASK)}
    fused = {
        name: tensor
        for name, tensor in state.items()
        if whole_name(name) == name and name not in masks
    }
    for whole in dict.fromkeys(whole_name(name) for name in state if name not in masks):
        if whole in fused:
            continue
        stem, _, leaf = whole.rpartition('.')
        layer = _LAYER.search(whole)
        assert layer is not None
        parts = _JOINED[layer[0]]
        names = [f'{stem.removesuffix(layer[0])}{part}.{leaf}' for part in parts]
        tensors = [state.get(name) for name in names]
        if leaf == 'weight' and any(tensor is None for tensor in tensors):
            missing = next(name for name, tensor in zip(names, tensors) if tensor is None)
            raise UserError(f'{missing} is missing beside {" and ".join(set(names) - {missing})}')
        known = next(tensor for tensor in tensors if tensor is not None)
        fused[whole] = torch.cat(
            [torch.zeros_like(known) if tensor is None else tensor for tensor in tensors]
        )
    for name, mask in masks.items():
        bias = name.removesuffix('_mask')
        # Not the product: where it masks, the mask may be NaN in a file that nobody initialised.
        fused[bias] = torch.where(mask == 1, fused[bias], torch.zeros_like(fused[bias]))
    return fused
