"""Building the parts of a model inside any host."""

import inspect

from torch import nn

from mae_plugin.errors import UserError
from mae_plugin.registry import MODELS


def build_part(part: dict | nn.Module) -> nn.Module:
    """Build a part from its config; a module is returned as it is.

    Type names are looked up in our scope whatever the host's default scope is, so that only the
    outermost type in a host's config needs the ``mae_plugin.`` prefix. A part of another
    scope says so (``type='mmpretrain.DALLEEncoder'``).

    Raises:
        UserError: If the part does not take an argument of its config.
    """
    if isinstance(part, nn.Module):
        return part
    cls = part.get('type')
    if isinstance(cls, str):
        cls = MODELS.get(cls)
    if inspect.isclass(cls):
        _check_arguments(cls, set(part) - {'type', '_scope_'})
    return MODELS.build({'_scope_': 'mae_plugin', **part})


def _check_arguments(cls: type, given: set[str]) -> None:
    takes = inspect.signature(cls).parameters
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in takes.values()):
        return
    if unknown := sorted(given - set(takes)):
        raise UserError(
            f'{cls.__name__} takes no {", ".join(unknown)}: it takes {", ".join(takes)}'
        )
