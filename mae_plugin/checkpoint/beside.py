"""What stands beside an encoder: decoders, pyramids, norms and heads of classifiers."""

from collections.abc import Mapping

from torch import Tensor

from mae_plugin.geometry import Grid

from .recognise import Recognised
from .resize import fit_pos_embed
from .spec import ModelSpec

# Parts that are loaded whole or not at all.
_WHOLE = ('decoder', 'neck.levels')


def fit_beside(
    beside: Mapping[str, Tensor],
    model: ModelSpec,
    changed: dict[str, str],
    grid: Grid | None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What can be loaded of that which stands beside the encoder, such as decoder and heads.

    With it comes what has another shape than the model's, and both shapes in words. A layer is
    loaded whole or not at all, and so are a decoder and a pyramid: with a hole they are of no use.
    """
    own = model.tensors
    known = {key: tensor for key, tensor in beside.items() if key in own}
    positions = 'decoder.pos_embed'
    if (
        positions in known
        and model.decoder_grid is not None
        and known[positions].shape[2] == own[positions].shape[2]
    ):
        h, w = model.decoder_grid
        num_rows = own[positions].shape[1] - h * w
        known[positions], how = fit_pos_embed(known[positions], (h, w), num_rows, num_rows, grid)
        changed.update({positions: how} if how else {})
    unfit = {
        key: f'{tuple(tensor.shape)} for {tuple(own[key].shape)}'
        for key, tensor in known.items()
        if tensor.shape != own[key].shape
    }
    left = {_unit(key) for key in unfit}
    left |= {_unit(key) for key in own if _unit(key) in _WHOLE and key not in known}
    return {key: tensor for key, tensor in known.items() if _unit(key) not in left}, unfit


def _unit(key: str) -> str:
    whole = next((part for part in _WHOLE if key.startswith(f'{part}.')), None)
    return whole or key.rpartition('.')[0]


def other_pooling(found: Recognised, model: ModelSpec, state: Mapping[str, Tensor]) -> list[str]:
    """What to say of a head that was trained on other features than the model gives it."""
    pool = found.facts.pool
    if pool is None or model.pool in (None, pool.value) or 'head.fc.weight' not in state:
        return []
    return [
        f"its head was trained on pool='{pool.value}' ({pool.source}), the model's neck has "
        f"pool='{model.pool}'"
    ]
