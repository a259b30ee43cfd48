"""The command reference, as the parsers themselves print it."""

import inspect
import os
import sys
from pathlib import Path

from mae_plugin.cli.completion import help_of
from mae_plugin.cli.main import GROUPS

TOOLS = Path(__file__).resolve().parents[2]


def command_page() -> str:
    """The page, in Markdown.

    Raises:
        RuntimeError: A command has no help.
    """
    paths, columns = sys.path.copy(), os.environ.get('COLUMNS')
    os.environ['COLUMNS'] = '84'  # argparse's own way to be told a width
    try:
        return _page()
    finally:
        sys.path[:] = paths
        if columns is None:
            del os.environ['COLUMNS']
        else:
            os.environ['COLUMNS'] = columns


def _page() -> str:
    lines = [
        '# Commands',
        '',
        '`mae-plugin COMMAND` works from any folder where the package is installed; in a clone '
        'each is a script of `tools/` too. Below is what `mae-plugin COMMAND --help` prints.',
        '',
    ]
    for group, commands in GROUPS.items():
        lines += [f'## {group}', '']
        for name, command in commands.items():
            text = inspect.cleandoc(help_of(name, command.run))
            if not text:
                raise RuntimeError(f'`mae-plugin {name} --help` prints nothing')
            summary = command.summary[0].upper() + command.summary[1:]
            lines += [f'### mae-plugin {name}', '', f'{summary}.{_script(command.run)}', '']
            lines += ['```text', text, '```', '']
    return '\n'.join(lines)


def _script(run: object) -> str:
    name = f'{str(run).removesuffix(".py")}.py'
    return f' In a clone: `python tools/{name}`.' if (TOOLS / name).is_file() else ''
