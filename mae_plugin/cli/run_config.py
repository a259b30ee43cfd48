"""What the command line changes in a run's config, and how its errors are told."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mae_plugin.cli.class_folders import (
    follow_classes,
    refuse_hidden_classes,
    refuse_shifted_classes,
)
from mae_plugin.cli.data_root import LOADERS, set_data_root
from mae_plugin.cli.data_roots import set_data_roots
from mae_plugin.errors import UserError, user_words
from mae_plugin.shipped import config_path

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_value(text: str) -> object:
    """A number, boolean, None, list, tuple or dict as Python writes it; other text as it is."""
    from ast import literal_eval

    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        named = {'true': True, 'false': False, 'none': None}
        if text.lower() in named:
            return named[text.lower()]
        return [parse_value(part) for part in text.split(',')] if ',' in text else text


def add_common_arguments(parser: ArgumentParser, several_roots: bool = False) -> None:
    """Arguments that training and testing share, named as in OpenMMLab's tools.

    Args:
        parser: Gets the arguments.
        several_roots: Whether ``--data-root`` takes several folders.
    """
    parser.add_argument('--work-dir', help='where logs, checkpoints and pictures go')
    parser.add_argument(
        '--data-root',
        nargs='+' if several_roots else 1,
        metavar='DIR',
        help='your images: a folder, searched recursively'
        + ', or several folders of unlabelled ones' * several_roots,
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_dataloader.batch_size=64',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0)


def load_config(args: Namespace, loaders: Sequence[str] = LOADERS) -> 'Config':
    """Read the config that ``args`` names and apply the common arguments to it.

    Args:
        args: Command line.
        loaders: The data loaders that the run uses.

    Raises:
        UserError: If the file is missing or no whole config, an option cannot be applied, or the
            folder of ``--data-root`` lacks what a loader needs.
    """
    from mmengine.config import Config

    if not Path(args.config).is_file():  # then by its name
        args.config = config_path(args.config)
    cfg = Config.fromfile(args.config)
    if 'model' not in cfg:
        raise UserError(f'{args.config} has no model: it is a part that other configs inherit')
    for option in args.cfg_options:
        override(cfg, option)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = f'work_dirs/{Path(args.config).stem}'
    if args.data_root:
        folder, *others = args.data_root
        if others:
            set_data_roots(cfg, args.data_root, loaders)
        else:
            set_data_root(cfg, folder, loaders)
        follow_classes(cfg, folder, getattr(args, 'checkpoint', None))
    refuse_hidden_classes(cfg, loaders)
    refuse_shifted_classes(cfg, loaders)
    return cfg


def override(cfg: 'Config', option: str) -> None:
    """Apply one KEY=VALUE of ``--cfg-options``.

    Raises:
        UserError: If it is not of that form, or the config has no such place.
    """
    key, equals, value = option.partition('=')
    if not equals:
        raise UserError(f"--cfg-options '{option}' is not KEY=VALUE")
    try:
        cfg.merge_from_dict({key: parse_value(value)})
    except (KeyError, TypeError) as error:
        raise UserError(f"--cfg-options '{option}' does not fit: {error.args[0]}") from error


def set_precision(cfg: 'Config', precision: str) -> None:
    """Choose 'bfloat16' (where the device has it), 'float16' or 'float32' for training."""
    wrapper = cfg.optim_wrapper
    for key in ('dtype', 'loss_scale'):
        wrapper.pop(key, None)
    if precision == 'bfloat16':
        wrapper.type = 'mae_plugin.BFloat16OptimWrapper'
    elif precision == 'float16':
        wrapper.type = 'mae_plugin.AmpOptimWrapper'
        wrapper.update(dtype='float16', loss_scale='dynamic')
    else:
        wrapper.type = 'mae_plugin.OptimWrapper'


@contextmanager
def user_errors() -> Iterator[None]:
    """Tell an error that the user can mend in one line, and exit with status 2.

    It may come from a data worker. Every other error keeps its traceback.
    """
    try:
        yield
    except UserError as error:
        print(f'error: {user_words(error)}', file=sys.stderr)
        sys.exit(2)
