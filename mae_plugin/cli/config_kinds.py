"""What parts of a config build, asked without importing a host.

Types of ours are resolved, so that a subclass counts as ours. A host's are known by the name that
its registry gives them, or, in mmengine's pure-Python configs, by the class that is there.
"""

import sys
from typing import Any


def builds_ours(registry: str, config: Any, *names: str) -> bool:
    """Whether a config builds one of our parts or a subclass of one.

    Args:
        registry: Name of the registry in :mod:`mae_plugin.registry`, such as 'DATASETS'.
        config: Part of a config, with a ``type``.
        names: Registered names.
    """
    if not config.get('type'):
        return False
    from mae_plugin import registry as registries

    parts = getattr(registries, registry)
    parents = tuple(parts.get(name) for name in names)
    return registries.builds(parts, config, parents, 'mae_plugin')


def builds_hosts(package: str, config: Any, *names: str) -> bool:
    """Whether a config builds one of a host's parts.

    Args:
        package: Where the host keeps them, such as 'mmpretrain.datasets'.
        config: Part of a config, with a ``type``.
        names: The parts.
    """
    kind = config.get('type')
    if isinstance(kind, str):
        scope, _, name = kind.rpartition('.')
        return name in names and scope in ('', package.partition('.')[0])
    parents = tuple(getattr(sys.modules.get(package), name, None) for name in names)
    return isinstance(kind, type) and issubclass(kind, tuple(filter(None, parents)))
