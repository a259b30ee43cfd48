"""The scripts of ``tools/`` as modules, from a clone or a wheel."""

import importlib
import sys
from types import ModuleType

from mae_plugin.shipped import shipped_folder


def load_tool(script: str) -> ModuleType:
    """A script of ``tools/`` as a module, which has ``main()``."""
    folder = str(shipped_folder() / 'tools')
    if sys.path[0] != folder:
        sys.path.insert(0, folder)  # the tools are scripts side by side
    return importlib.import_module(script.removesuffix('.py'))
