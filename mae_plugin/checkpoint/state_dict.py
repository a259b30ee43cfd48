"""A state dict on its way into a ViT: translated if it is foreign, refused if it does not fit.

mmengine's runners load ``load_from=`` with ``strict=False``, so keys that do not match would train
from scratch without a word. A ViT asks :func:`translate_state_dict` before it takes its part.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mae_plugin.errors import UserError

from .fit import OPTIONAL
from .load import adapt, log_report
from .spec import ModelSpec, TrunkSpec


def translate_state_dict(state_dict: dict[str, Any], prefix: str, trunk: TrunkSpec) -> None:
    """Give the keys under ``prefix`` the trunk's names and shapes, in place.

    A state dict that fits is left alone.

    Args:
        state_dict: What torch hands to the module at ``prefix``: it sees no other keys.
        prefix: What precedes the trunk's own names.
        trunk: The ViT.

    Raises:
        UserError: If nothing in it covers the trunk; names the way in.
    """
    given = {
        key.removeprefix(prefix): value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }
    if _fits(trunk, given):
        return
    if not given:
        raise UserError(
            f"no key of the state dict begins with '{prefix}', so the {trunk.name} there would "
            "stay as it is: load another model's file with init_cfg=dict(type='Pretrained', "
            f'checkpoint=FILE) of the {trunk.name}, with --pretrained FILE of our tools/train.py, '
            "with custom_hooks=[dict(type='mae_plugin.StartingWeightsHook')] beside load_from, or "
            'with mae_plugin.checkpoint.load_pretrained(model, FILE)'
        )
    model = ModelSpec(trunk.tensors, {'': trunk})
    state, report, _ = adapt(
        given, model, f"the state dict's part '{prefix}'" if prefix else 'the state dict'
    )
    for key in given:
        del state_dict[prefix + key]
    state_dict.update({prefix + name: tensor for name, tensor in state.items()})
    log_report(report, model)


def _fits(trunk: TrunkSpec, given: Mapping[str, Any]) -> bool:
    """Whether ``given`` has the trunk's own names and shapes, and no others."""
    fits = all(
        isinstance(given[name], Tensor) and given[name].shape == tensor.shape
        if name in given
        else OPTIONAL.match(name)
        for name, tensor in trunk.tensors.items()
    )
    return fits and set(given) <= set(trunk.tensors)
