"""The configs and tools that come with the package, wherever it is installed."""

import difflib
from pathlib import Path

from mae_plugin.errors import UserError

_PACKAGE = Path(__file__).resolve().parent
_SCOPE = 'mae_plugin::'


def shipped_folder() -> Path:
    """The folder that holds ``configs/`` and ``tools/``: of a wheel, or of the clone.

    Raises:
        UserError: The package was installed without them.
    """
    for folder in (_PACKAGE / '.mim', _PACKAGE.parent):
        if (folder / 'configs/mae_vit-b_pretrain.py').is_file():
            return folder
    raise UserError(f'{_PACKAGE} came without its configs and tools: install mae_plugin again')


def config_path(name: str) -> str:
    """The path of a config of ours, for ``_base_`` of a config anywhere.

    mmengine's own ``PACKAGE::config`` knows a fixed list of packages, but evaluates ``_base_``::

        _base_ = __import__('mae_plugin').config_path('detection/mask-rcnn_vitdet-b_...py')

    Args:
        name: Below ``configs/``, with or without ``mae_plugin::`` or ``configs/`` before it and
            ``.py`` behind it; or a file's name alone, where only one has it.

    Raises:
        UserError: There is none, or several; names those that are alike.
    """
    folder = shipped_folder() / 'configs'
    wanted = name.removeprefix(_SCOPE).removeprefix('configs/').removesuffix('.py') + '.py'
    if (folder / wanted).is_file():
        return str(folder / wanted)
    names = config_names()
    found = [other for other in names if other.rpartition('/')[2] == wanted]
    if len(found) == 1:
        return str(folder / found[0])
    alike = found or difflib.get_close_matches(wanted, names, 3, 0.5)
    hint = f'did you mean {", ".join(alike)}?' if alike else '`mae-plugin configs` lists all'
    raise UserError(f"no config file '{name}', here or of mae_plugin: {hint}")


def config_names() -> list[str]:
    """Our configs that can be run, as :func:`config_path` takes them; bases are left out."""
    folder = shipped_folder() / 'configs'
    paths = (path.relative_to(folder) for path in folder.rglob('*.py'))
    return sorted(path.as_posix() for path in paths if '_base_' not in path.parts)
