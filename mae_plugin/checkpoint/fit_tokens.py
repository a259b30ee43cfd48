"""Make an encoder's prefix tokens and positions those of a trunk, or say why they cannot be."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid

from .resize import find_grid, fit_pos_embed
from .sizes import Sizes, sizes
from .spec import TrunkSpec


def fit_tokens_and_positions(
    state: dict[str, Tensor],
    trunk: TrunkSpec,
    theirs: Sizes,
    changed: dict[str, str],
    grid: Grid | None = None,
    rotary_base: float | None = None,
) -> None:
    """Fit tokens and positions in place, and tell in ``changed`` what was done.

    Args:
        state: The encoder's tensors under our names.
        trunk: The model that takes it.
        theirs: Sizes of the encoder.
        changed: Gets the names of what was adapted, and how.
        grid: Grid of the encoder's positions, where it is known.
        rotary_base: Base of its rotary positions, if it has such; see :class:`.layouts.Format`.

    Raises:
        UserError: If the model has other tokens, or positions of another kind.
    """
    own = trunk.tensors
    ours = sizes(own)
    _fold_register_rows(state, theirs, trunk.grid, grid, changed)
    _fit_tokens(state, theirs, ours)
    _fit_rotary(state, own, changed, rotary_base)
    if 'pos_embed' in state and 'pos_embed' in own:
        state['pos_embed'], how = fit_pos_embed(
            state['pos_embed'],
            trunk.grid,
            trunk.num_cls_tokens,
            theirs.cls_tokens,
            grid,
            trunk.resize,
        )
        if how:
            changed['pos_embed'] = how if state['pos_embed'].any() else 'zero, as in the file'


def mismatch(reason: str, theirs: Sizes, ours: Sizes) -> UserError:
    """The error of an encoder and a model that differ; shows both."""
    return UserError(
        f'its encoder does not fit: {reason}.\n  file:  {theirs}\n  model: {ours}\n'
        'Build the model as the file is, or choose another file'
    )


def _fold_register_rows(
    state: dict[str, Tensor],
    theirs: Sizes,
    target: Grid,
    source: Grid | None,
    changed: dict[str, str],
) -> None:
    """Add the registers' rows of the positions, where a file has some, to the registers."""
    table, first = state.get('pos_embed'), theirs.cls_tokens
    last = first + theirs.register_tokens
    if table is None or first == last:
        return
    if source is None:
        num_rows, _ = find_grid(table, target, first, theirs.register_tokens)
    else:
        num_rows = table.shape[1] - source[0] * source[1]
    if num_rows == last:
        state['register_tokens'] = state['register_tokens'] + table[:, first:last]
        state['pos_embed'] = torch.cat([table[:, :first], table[:, last:]], dim=1)
        changed['register_tokens'] = 'with their rows of pos_embed added'


def _fit_tokens(state: dict[str, Tensor], theirs: Sizes, ours: Sizes) -> None:
    """Leave the file's prefix tokens out if the model has none, or see that it has the same."""
    if not ours.cls_tokens and not ours.register_tokens:
        for name in ('cls_token', 'register_tokens'):
            state.pop(name, None)
        return
    if ours.cls_tokens and not theirs.cls_tokens:
        raise mismatch(
            'it has no class token: build the model with with_cls_token=False', theirs, ours
        )
    for name in ('cls_tokens', 'register_tokens'):
        count = getattr(theirs, name)
        if count != getattr(ours, name):
            raise mismatch(f'build the model with num_{name}={count}', theirs, ours)


def _fit_rotary(
    state: dict[str, Tensor], own: Mapping, changed: dict[str, str], base: float | None
) -> None:
    """See that file and model both have rotary positions, or neither."""
    name = 'positions.periods'
    is_rotary = base is not None or name in state
    if is_rotary and name not in own:
        raise UserError(
            'its positions are rotary, the model has a table of them: build the model with '
            "positions=dict(type='RotaryPositions'), or a name such as arch='dinov3-base'"
        )
    if name in own and not is_rotary:
        raise UserError(
            'the model has rotary positions in the manner of DINOv3, and the file is none of that '
            'family: leave `positions` out, or choose another arch'
        )
    if is_rotary and name not in state and base is not None:
        count = own[name].numel()
        state[name] = base ** (torch.arange(count) / count)
        changed[name] = f'of base {base:g}, as the family has: the file has none'
