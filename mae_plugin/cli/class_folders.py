"""Labels by folders: every split of a run has the classes of its training images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_plugin.cli.config_kinds import builds_hosts, builds_ours
from mae_plugin.cli.data_root import (
    LOADERS,
    dataset_of,
    has_class_folders,
    is_mmpretrains,
    prefix_of,
)
from mae_plugin.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config


def follow_classes(cfg: 'Config', folder: str, checkpoint: str | None = None) -> None:
    """Give a classifier and all its loaders the classes that training has in ``folder``.

    Those are the sub-folders of the training images; where these are not there, what the
    checkpoint was trained on; else what the validation images have. Only for data that is
    labelled by its folders; annotation files name their own labels.

    Args:
        cfg: Config, changed in place, after ``set_data_root``.
        folder: The root of the data.
        checkpoint: What will be tested.
    """
    model: Any = cfg.get('model') or {}
    if not builds_hosts('mmpretrain.models', model, 'ImageClassifier'):
        return
    loaders = [dataset_of(cfg, name)[1] for name in LOADERS]
    labelled = [dataset for dataset in loaders if dataset and has_class_folders(cfg, dataset)]
    train = dataset_of(cfg, 'train_dataloader')[1]
    if not labelled or not train or not has_class_folders(cfg, train):
        return
    names = class_names(Path(folder) / prefix_of(train))
    classes: Any = prefix_of(train) if names else None
    if not names and checkpoint and Path(checkpoint).is_file():
        names = stored_classes(checkpoint)
        classes = names or None
    for dataset in labelled:
        names = names or class_names(Path(folder) / prefix_of(dataset))
        if builds_ours('DATASETS', dataset, 'ImageFolder'):
            dataset.classes = classes
    if names:
        model.head.num_classes = len(names)
        if 'data_preprocessor' in model:
            model.data_preprocessor.num_classes = len(names)


def class_names(images: Path) -> list[str]:
    """Sorted names of the folders that are classes; none if there is no such folder."""
    if not images.is_dir():
        return []
    return sorted(e.name for e in images.iterdir() if e.is_dir() and e.name[0] != '.')


def stored_classes(checkpoint: str) -> list[str]:
    """The classes that a run stores in its checkpoints; none if it stores none."""
    from mae_plugin.checkpoint.safe_load import safe_load

    content = safe_load(checkpoint)
    meta = content.get('meta') if isinstance(content, dict) else None
    classes = ((meta or {}).get('dataset_meta') or {}).get('classes')
    return list(classes or ())


def refuse_hidden_classes(cfg: 'Config', loaders: Sequence[str] = LOADERS) -> None:
    """Refuse a hidden folder among class folders: mmpretrain takes it for a class.

    Raises:
        UserError: If there is one.
    """
    for name in loaders:
        images = _numbered_by_mmpretrain(cfg, name)
        for entry in sorted(images.iterdir()) if images else ():
            if entry.name.startswith('.') and entry.is_dir():
                raise UserError(
                    f'{entry} is a hidden folder among the class folders, which mmpretrain would '
                    'take for a class, shifting all labels: remove it'
                )


def refuse_shifted_classes(cfg: 'Config', loaders: Sequence[str] = LOADERS) -> None:
    """Refuse a split whose folders mmpretrain would number otherwise than those of training.

    Raises:
        UserError: If there is one; it names a folder that makes the difference.
    """
    train = _numbered_by_mmpretrain(cfg, 'train_dataloader')
    known = class_names(train) if train else []
    for name in loaders if known else ():
        images = _numbered_by_mmpretrain(cfg, name)
        found = class_names(images) if images else []
        if found == known[: len(found)]:
            continue
        unknown = [folder for folder in found if folder not in known]
        if unknown:
            raise UserError(
                f'{images} has a folder {unknown[0]!r}, which is no class of {train}: add it '
                'there, or take it out'
            )
        from mae_plugin.registry import type_name

        missing = next(folder for folder in known if folder not in found)
        raise UserError(
            f'{images} has no folder {missing!r}, which {train} has, and '
            f'{type_name(dataset_of(cfg, name)[1].type)} numbers the folders that are there, so '
            'that labels would shift: make the folder, empty, or use the dataset '
            f'mae_plugin.ImageFolder with classes={train.name if train else ""!r}'
        )


def _numbered_by_mmpretrain(cfg: 'Config', name: str) -> Path | None:
    """The folder of class folders that a dataset of mmpretrain's numbers, if it does."""
    _, dataset = dataset_of(cfg, name)
    if not is_mmpretrains(dataset) or not has_class_folders(cfg, dataset):
        return None
    images = Path(dataset.get('data_root') or '') / prefix_of(dataset)
    return images if images.is_dir() else None
