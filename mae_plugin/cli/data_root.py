"""Another folder of data in a config that names its own: ``--data-root``."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_plugin.errors import UserError
from mae_plugin.files import refuse_file

if TYPE_CHECKING:
    from mmengine.config import Config

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Where else a config holds paths of its data.
_USERS = ('val_evaluator', 'test_evaluator', 'default_hooks', 'custom_hooks')
# mmpretrain's datasets that take folders for classes.
MMPRETRAIN = ('CustomDataset', 'ImageNet', 'ImageNet21k')


def set_data_root(cfg: 'Config', folder: str, loaders: Sequence[str] = LOADERS) -> None:
    """Point everything that reads the config's data at ``folder``.

    A loader's ``data_prefix`` (ImageNet's ``train``) is kept where that folder exists. Otherwise
    unlabelled images are the whole of ``folder``, searched recursively. Paths below the old root
    in hooks, evaluators and datasets follow.

    Args:
        cfg: Config, changed in place.
        folder: The new root.
        loaders: Those that the run uses: what they lack is told.

    Raises:
        UserError: If ``folder`` is a file; if a loader's folder of class folders is missing: the
            whole of ``folder`` would mix training and validation, or take these two for the
            classes.
    """
    uses_shards = any('shards' in dataset_of(cfg, name)[1] for name in LOADERS)
    if not uses_shards:
        refuse_file(folder)
    move = _mover([dataset_of(cfg, name)[1].get('data_root') for name in LOADERS], folder)
    for name in (*LOADERS, *_USERS):
        if cfg.get(name):
            cfg[name] = _replace(cfg[name], move)
    for name in LOADERS:
        place, dataset = dataset_of(cfg, name)
        if not dataset:
            continue
        prefix = prefix_of(dataset)
        is_there = (Path(folder) / prefix).is_dir()
        if 'shards' in dataset:
            shards = str(Path(folder) / prefix) if is_there else folder
            dataset.update(shards=shards, index=None)
        else:
            dataset.data_root = folder
        if is_there:
            continue
        if not has_class_folders(cfg, dataset):
            if not isinstance(dataset.get('data_prefix', ''), str):
                continue  # a host's dataset of several folders
            if 'shards' not in dataset:
                dataset.data_prefix = ''
            held_out = name != 'train_dataloader' and not dataset.get('ann_file')
            if held_out and name in loaders:
                print(
                    f'warning: --data-root {folder} has no folder {prefix!r}, so all images in it '
                    'are used: they are not held out if you trained on them',
                    file=sys.stderr,
                )
        elif name in loaders:
            without = ', or --no-validate' if name == 'val_dataloader' else ''
            raise UserError(
                f'--data-root {folder} has no folder {prefix!r} with one sub-folder for each '
                f'class, which {name} needs: make it, or name yours with '
                f'--cfg-options {place}.data_prefix=NAME{without}'
            )


def dataset_of(cfg: 'Config', name: str) -> tuple[str, Any]:
    """The dataset of a loader inside its wrappers, and where in the config it stands."""
    place = f'{name}.dataset'
    dataset: Any = (cfg.get(name) or {}).get('dataset') or {}
    while 'dataset' in dataset:
        place, dataset = f'{place}.dataset', dataset.dataset
    return place, dataset


def has_class_folders(cfg: 'Config', dataset: Any) -> bool:
    """Whether sub-folders of the images are their labels."""
    if dataset.get('ann_file'):
        return False
    if kind_of(dataset) == 'ImageFolder':
        pretraining = kind_of(cfg.get('model') or {}) == 'MAE'
        return dataset.get('labels', 'auto') is not False and not pretraining
    return kind_of(dataset) in MMPRETRAIN and dataset.get('with_label', True)


def kind_of(config: Any) -> str:
    """The ``type`` of a config without its scope."""
    return str(config.get('type', '')).rpartition('.')[2]


def prefix_of(dataset: Any) -> str:
    """Folder of a dataset's images or shards below its root."""
    if isinstance(dataset.get('shards'), str):
        return os.path.basename(dataset.shards)
    prefix = dataset.get('data_prefix', '')
    return prefix if isinstance(prefix, str) else prefix.get('img_path', '')


def _mover(roots: Sequence[str | None], folder: str) -> Callable[[str], str]:
    """A function that moves paths at or below one of ``roots`` to ``folder``."""
    known = sorted({os.path.normpath(root) for root in roots if root}, key=len, reverse=True)

    def move(text: str) -> str:
        path = os.path.normpath(text)
        for root in known:
            if path == root:
                return folder
            if path.startswith(root + os.sep):
                return os.path.join(folder, os.path.relpath(path, root))
        return text

    return move


def _replace(value: Any, move: Callable[[str], str]) -> Any:
    """Apply ``move`` to all strings inside dicts, lists and tuples."""
    if isinstance(value, str):
        return move(value)
    if isinstance(value, dict):
        for key in value:
            value[key] = _replace(value[key], move)
    elif isinstance(value, (list, tuple)):
        return type(value)(_replace(item, move) for item in value)
    return value
