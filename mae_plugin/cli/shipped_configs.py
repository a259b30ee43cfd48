"""Commands about the configs that come with the package."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mae_plugin.errors import UserError
from mae_plugin.files import atomic_write
from mae_plugin.shipped import config_names, config_path

_CHILD = '''"""On top of mae_plugin's {name}.

Works in our commands and in the hosts' own `tools/train.py`. Write below what is to differ.
"""

_base_ = __import__('mae_plugin').config_path('{name}')

# train_dataloader = dict(batch_size=64)
'''


def list_configs(arguments: Sequence[str]) -> None:
    """Print the names of all configs, or of those that contain a word."""
    parser = argparse.ArgumentParser(description='Names of the configs that can be run.')
    parser.add_argument('word', nargs='?', default='', help='only those with this in their name')
    word = parser.parse_args(arguments).word
    print('\n'.join(name for name in config_names() if word in name))


def print_path(arguments: Sequence[str]) -> None:
    """Print where a config lies."""
    parser = argparse.ArgumentParser(description='Where a config lies, for scripts.')
    parser.add_argument('name', help='as `mae-plugin configs` lists it, or its file name alone')
    print(config_path(parser.parse_args(arguments).name))


def copy(arguments: Sequence[str]) -> None:
    """Write a config that inherits one of ours.

    Raises:
        UserError: There is a file already.
    """
    parser = argparse.ArgumentParser(
        description='Write a config of your own that inherits one of ours, for our commands and '
        "the hosts' own scripts."
    )
    parser.add_argument('name', help='as `mae-plugin configs` lists it, or its file name alone')
    parser.add_argument('file', nargs='?', type=Path, help='to write; here, of the same name')
    args = parser.parse_args(arguments)
    path = config_path(args.name)
    name = next(name for name in config_names() if Path(path).as_posix().endswith(f'/{name}'))
    target = args.file or Path(Path(path).name)
    if target.exists():
        raise UserError(f'{target} exists already: name another file')
    atomic_write(target, _CHILD.format(name=name).encode())
    print(target)
