"""Make an encoder's tensors fit a trunk: sizes, positions, biases and layer scales."""

import re
from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid

from .fit_tokens import fit_tokens_and_positions, mismatch
from .report import shorten
from .resize import (
    resize_channels,
    resize_patch_projection,
    resize_rel_pos,
)
from .sizes import sizes
from .spec import TrunkSpec

# What a file may lack: models of all formats do without them.
OPTIONAL = re.compile(r'norm\.|blocks\.\d+\.(gamma_[12]|attn\.rel_pos_[hw])$')
# Each layer scale and the linear layers whose output it multiplies.
SCALED = {'gamma_1': ('attn.proj',), 'gamma_2': ('mlp.fc2', 'mlp.w3')}


def require_sizes(encoder: Mapping[str, Tensor], trunk: TrunkSpec) -> None:
    """Refuse an encoder of another width, depth or MLP.

    Raises:
        UserError: Shows both sides.
    """
    theirs, ours = sizes(encoder), sizes(trunk.tensors)
    for name in ('width', 'depth', 'hidden', 'mlp'):
        if getattr(theirs, name) != getattr(ours, name):
            raise mismatch(f'sizes differ ({name})', theirs, ours)


def adapt_encoder(
    encoder: Mapping[str, Tensor],
    trunk: TrunkSpec,
    grid: Grid | None = None,
    rotary_base: float | None = None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Adapt an encoder to a trunk of the same width and depth (:func:`require_sizes`).

    Args:
        encoder: Tensors under our names.
        trunk: The model that takes it.
        grid: Grid of the encoder's positions, where it is known.
        rotary_base: Base of its rotary positions, if it has such; see :class:`.layouts.Format`.

    Returns:
        Tensors to load, each of the trunk's shape, and for each one that was changed, how.

    Raises:
        UserError: If the encoder is not covered, or the trunk would compute something else.
    """
    own = trunk.tensors
    theirs, ours = sizes(encoder), sizes(own)
    state = dict(encoder)
    changed: dict[str, str] = {}
    fit_tokens_and_positions(state, trunk, theirs, changed, grid, rotary_base)
    _fit_patches(state, own, changed)
    _fit_qkv_bias(state, own, changed)
    _fit_layer_scale(state, own, changed)
    _fit_relative_positions(state, own, changed)

    missing = [name for name in own if name not in state and not OPTIONAL.match(name)]
    unfit = [name for name in own if name in state and state[name].shape != own[name].shape]
    if 'pos_embed' in missing:
        raise mismatch(
            'it has no absolute positions (pos_embed): they are rotary or relative, which the '
            'model does not compute',
            theirs,
            ours,
        )
    if missing:
        raise mismatch(f'it lacks {shorten(missing)}', theirs, ours)
    if unfit:
        shapes = ', '.join(
            f'{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}' for name in unfit[:4]
        )
        raise mismatch(f'{len(unfit)} tensors have other shapes: {shapes}', theirs, ours)
    return {name: tensor for name, tensor in state.items() if name in own}, changed


def _fit_patches(state: dict[str, Tensor], own: Mapping, changed: dict[str, str]) -> None:
    name = 'patch_embed.proj.weight'
    weight, target = state[name], own[name]
    how = []
    if weight.shape[1] != target.shape[1]:
        how.append(f'{weight.shape[1]} to {target.shape[1]} channels')
        weight = resize_channels(weight, target.shape[1])
    if weight.shape[-1] != target.shape[-1]:
        how.append(f'patch {weight.shape[-1]} to {target.shape[-1]} by pseudo-inverse')
        weight = resize_patch_projection(weight, target.shape[-1])
    if how:
        state[name], changed[name] = weight, ', '.join(how)
    if 'patch_embed.proj.bias' not in state:
        state['patch_embed.proj.bias'] = weight.new_zeros(weight.shape[0])
        changed['patch_embed.proj.bias'] = 'zero, the file has none'


def _fit_qkv_bias(state: dict[str, Tensor], own: Mapping, changed: dict[str, str]) -> None:
    for name in [name for name in own if name.endswith('attn.qkv.bias') and name not in state]:
        if name.replace('bias', 'weight') in state:
            state[name] = torch.zeros(own[name].shape)
            changed[name] = 'zero, the file has none'
    lost = [name for name in state if name.endswith('attn.qkv.bias') and name not in own]
    if any(state[name].any() for name in lost):
        raise UserError(f'it has {shorten(lost)}, the model none: set qkv_bias=True')


def _fit_layer_scale(state: dict[str, Tensor], own: Mapping, changed: dict[str, str]) -> None:
    """Multiply layer scales into the linear layers before them if the model has none."""
    if not any(name.endswith('gamma_1') for name in own):
        for name in fold_layer_scale(state):
            changed[name] = 'multiplied by the layer scale, which the model lacks'


def fold_layer_scale(state: dict[str, Tensor]) -> list[str]:
    """Fold layer scales into the last layer of each branch, which computes the same.

    Returns:
        Names of the tensors changed.
    """
    folded = []
    for name in [name for name in state if name.endswith(tuple(SCALED))]:
        gamma = state.pop(name).flatten()
        block, _, which = name.rpartition('.')
        for layer, leaf in product(SCALED[which], ('weight', 'bias')):
            linear = f'{block}.{layer}.{leaf}'
            if linear in state:
                column = gamma if leaf == 'bias' else gamma[:, None]
                state[linear] = state[linear] * column
                folded.append(linear)
    return folded


def _fit_relative_positions(
    state: dict[str, Tensor], own: Mapping, changed: dict[str, str]
) -> None:
    names = [name for name in state if re.search(r'rel_pos_[hw]$', name)]
    lost = [name for name in names if name not in own]
    if any(state[name].any() for name in lost):
        raise UserError(
            f'it adds relative positions to its attention ({shorten(lost)}), the model none, so '
            'it would compute something else: use ViTBackbone with relative positions'
        )
    theirs, ours = (_windowed(tensors) for tensors in (state, own))
    if theirs and ours != theirs and not lost:
        raise UserError(
            f'its blocks {theirs} attend in windows, as the lengths of their relative positions '
            f"tell, and the model's {ours or 'none'}: set global_attn_indexes to all others"
        )
    for name in names:
        if name in own and state[name].shape[0] != own[name].shape[0]:
            changed[name] = f'{state[name].shape[0]} to {own[name].shape[0]} rows, linear'
            state[name] = resize_rel_pos(state[name], own[name].shape[0])


def _windowed(tensors: Mapping[str, Tensor]) -> list[int]:
    """Blocks whose relative positions reach less far than others': those that have windows."""
    rows = {
        int(name.split('.')[1]): tensor.shape[0]
        for name, tensor in tensors.items()
        if name.endswith('attn.rel_pos_h')
    }
    return sorted(index for index, length in rows.items() if length < max(rows.values()))
