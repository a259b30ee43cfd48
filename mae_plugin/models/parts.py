"""Building the parts of a model inside any host."""

from torch import nn

from mae_plugin.registry import MODELS


def build_part(part: dict | nn.Module) -> nn.Module:
    """Build a part from its config; a module is returned as it is.

    Type names are looked up in our scope whatever the host's default scope is, so that only the
    outermost type in a host's config needs the ``mae_plugin.`` prefix. A part of another
    scope says so (``type='mmpretrain.DALLEEncoder'``).
    """
    if isinstance(part, nn.Module):
        return part
    return MODELS.build({'_scope_': 'mae_plugin', **part})
