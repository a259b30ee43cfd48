"""Our commands: how they are typed, and the modules behind them, here or in ``tools/``."""

import importlib
import sys
from types import ModuleType

from mae_plugin.shipped import shipped_folder


def as_typed(name: str) -> str:
    """``mae-plugin NAME`` where the running command was typed so, else the script of a clone."""
    is_installed = sys.argv[0].startswith('mae-plugin ')
    return f'mae-plugin {name}' if is_installed else f'python tools/{name}.py'


def load_tool(name: str) -> ModuleType:
    """A module of ``cli/``, or a script of ``tools/`` (``NAME.py``), that has ``main()``."""
    if not name.endswith('.py'):
        return importlib.import_module(f'mae_plugin.cli.{name}')
    folder = str(shipped_folder() / 'tools')
    if sys.path[0] != folder:
        sys.path.insert(0, folder)  # the tools are scripts side by side
    return importlib.import_module(name.removesuffix('.py'))
