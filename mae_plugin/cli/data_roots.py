"""Several folders of unlabelled images as one: ``--data-root A B C``."""

import copy
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mae_plugin.cli.config_kinds import builds_ours
from mae_plugin.cli.data_root import LOADERS, dataset_of, has_class_folders, set_data_root
from mae_plugin.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

_JOINED = ('ImageFolder', 'ImageShards', 'WindowFolder')


def set_data_roots(cfg: 'Config', folders: Sequence[str], loaders: Sequence[str]) -> None:
    """Let the loaders read all of ``folders``, each as ``set_data_root`` would alone.

    Args:
        cfg: Config, changed in place; what is not data follows the first folder.
        folders: The roots.
        loaders: Those that the run uses.

    Raises:
        UserError: If the images are labelled, or one folder is not what the run needs.
    """
    for name in LOADERS:
        _, dataset = dataset_of(cfg, name)
        joins = dataset and builds_ours('DATASETS', dataset, *_JOINED)
        if dataset and (not joins or has_class_folders(cfg, dataset)):
            raise UserError(
                f'--data-root {" ".join(folders)}: several folders are joined for pretraining, '
                'without labels; for this config put the images below one folder (links will do)'
            )
    parts = [copy.deepcopy(cfg) for _ in folders[1:]]
    for part, folder in zip([cfg, *parts], folders):
        set_data_root(part, folder, loaders)
    for name in LOADERS:
        place, dataset = dataset_of(cfg, name)
        if dataset:
            others = [dataset_of(part, name)[1] for part in parts]
            joined = dict(type='mae_plugin.ConcatDataset', datasets=[dataset, *others])
            parent, _, key = place.rpartition('.')
            _at(cfg, parent)[key] = joined


def config_first(arguments: list[str]) -> list[str]:
    """Let ``--data-root DIR CONFIG`` mean a folder and a config, now that several are taken."""
    if '--data-root' not in arguments or not arguments[0].startswith('-'):
        return arguments
    for place in range(arguments.index('--data-root') + 2, len(arguments)):
        argument = arguments[place]
        if argument.startswith('-'):
            break
        if not os.path.isdir(argument):
            return [argument, *arguments[:place], *arguments[place + 1 :]]
    return arguments


def _at(cfg: 'Config', place: str) -> Any:
    node: Any = cfg
    for key in place.split('.'):
        node = node[key]
    return node
