"""Building the parts of a model inside any host."""

import inspect
from typing import Any

from torch import nn

from mae_plugin.errors import UserError
from mae_plugin.registry import MODELS


def build_part(part: dict | nn.Module, **facts: Any) -> nn.Module:
    """Build a part from its config; a module is returned as it is.

    Type names are looked up in our scope whatever the host's default scope is, so that only the
    outermost type in a host's config needs the ``mae_plugin.`` prefix. A part of another
    scope says so (``type='mmpretrain.DALLEEncoder'``).

    Args:
        part: Config or module.
        facts: What the model around it knows already (a width, a patch size). The part gets
            those that it takes and that its config leaves out.

    Raises:
        UserError: If the part does not take an argument of its config.
    """
    if isinstance(part, nn.Module):
        return part
    cls = part.get('type')
    if isinstance(cls, str):
        cls = MODELS.get(cls)
    if inspect.isclass(cls):
        takes, takes_any = _arguments(cls)
        unknown = sorted(set(part) - {'type', '_scope_'} - takes.keys())
        if unknown and not takes_any:
            raise UserError(
                f'{cls.__name__} takes no {", ".join(unknown)}: it takes {", ".join(takes)}'
            )
        part = {**{name: facts[name] for name in facts if name in takes}, **part}
    return MODELS.build({'_scope_': 'mae_plugin', **part})


def _arguments(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Named arguments of a class, those that it passes on by ``**kwargs`` included.

    Returns:
        The arguments, and whether it takes any other.
    """
    named: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        own = list(inspect.signature(vars(base)['__init__']).parameters.values())[1:]
        named |= {p.name: p for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind == p.VAR_KEYWORD for p in own):
            return named, False
    return named, True
