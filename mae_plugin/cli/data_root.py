"""Another folder of data in a config that names its own: ``--data-root``."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_plugin.cli.config_kinds import builds_hosts, builds_ours
from mae_plugin.errors import UserError
from mae_plugin.files import refuse_file

if TYPE_CHECKING:
    from mmengine.config import Config

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Where else a config holds paths of its data.
_USERS = ('val_evaluator', 'test_evaluator', 'default_hooks', 'custom_hooks')


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
    if builds_ours('DATASETS', dataset, 'ImageFolder'):
        labelled = dataset.get('labels', 'auto') is not False
        return labelled and not builds_ours('MODELS', cfg.get('model') or {}, 'MAE')
    return is_mmpretrains(dataset) and dataset.get('with_label', True)


def is_mmpretrains(dataset: Any) -> bool:
    """Whether a dataset is mmpretrain's that takes folders for classes."""
    return builds_hosts('mmpretrain.datasets', dataset, 'CustomDataset', 'ImageNet', 'ImageNet21k')


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
    """Apply ``move`` to all strings inside dicts, lists and tuples; the rest is not touched.

    What is written back to a pure-Python config is the class for its name, which mmengine cannot
    store.
    """
    if isinstance(value, str):
        moved = move(value)
        return value if moved == value else moved
    if isinstance(value, dict):
        for key in value:
            old = value[key]
            new = _replace(old, move)
            if new is not old:
                value[key] = new
    elif isinstance(value, (list, tuple)):
        items = [_replace(item, move) for item in value]
        if any(new is not old for new, old in zip(items, value)):
            return type(value)(items)
    return value
