"""A folder of images, labelled or not."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_plugin.datasets import left_out
from mae_plugin.datasets.cache import cache_folder, digest
from mae_plugin.datasets.folder_listing import is_folder, list_folder
from mae_plugin.datasets.image_dataset import ImageDataset
from mae_plugin.datasets.path_list import PathList
from mae_plugin.errors import UserError
from mae_plugin.files import refuse_file
from mae_plugin.registry import DATASETS

EXTENSIONS = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.avif', '.bmp', '.tif', '.tiff', '.gif',
    '.jp2', '.j2k', '.ppm', '.pgm', '.pnm', '.npy', '.dcm',
)  # fmt: skip


@DATASETS.register_module()
class ImageFolder(ImageDataset):
    """All images below a folder, in the order of their names.

    Labels are the folders at the top level (ImageNet's layout), or the last column of
    ``ann_file``. The list is kept as two arrays, which workers share.

    Args:
        data_root (str): Folder of the data.
        data_prefix (str | dict): Folder of the images below it, such as ``'train'``; as in
            OpenMMLab ``dict(img_path='train')`` also works.
        ann_file (str, optional): Text file below ``data_root`` with a path below the images'
            folder per line, maybe followed by a label number; only these images are used.
        labels (bool | str): 'auto' labels the images if all of them have a label and there are at
            least two classes; True, or ``classes``, demands it; False leaves the labels out.
        classes (Sequence[str] | str, optional): Class names in label order; or the folder below
            ``data_root`` whose sub-folders, sorted, are the classes: ``'train'``, so that every
            split has the labels of training (not looked up beside an ``ann_file``). Defaults to
            the images' own top-level folders.
        pipeline (Sequence[dict]): Transforms, see :class:`ImageDataset`.
        seed (int, optional): See :class:`ImageDataset`.
        extensions (Sequence[str]): Endings of image files, in any case.
        index_cache (str | bool): File that keeps the listing for the next start; True puts it into
            ``$XDG_CACHE_HOME/mae_plugin``, False keeps none. It is renewed when a folder changes.
        bad_images (dict, optional): See :class:`ImageDataset`.

    Files of other endings are left out, and counted by ending in one line of the log.

    Raises:
        UserError: If a folder or file is missing, holds no image, or the labels cannot be had.
    """

    def __init__(
        self,
        data_root: str,
        data_prefix: str | dict = '',
        ann_file: str | None = None,
        labels: bool | str = 'auto',
        classes: Sequence[str] | str | None = None,
        pipeline: Sequence = (),
        seed: int | None = None,
        extensions: Sequence[str] = EXTENSIONS,
        index_cache: str | bool = True,
        bad_images: dict | None = None,
    ) -> None:
        super().__init__(pipeline, seed, bad_images)
        folder = data_prefix
        if isinstance(folder, dict):
            folder = folder.get('img_path', '')
        self.root = os.path.join(data_root, folder)
        if not os.path.isdir(self.root):
            for path in (self.root, data_root):
                refuse_file(path)
            raise UserError(
                f'image folder {self.root!r} does not exist; name yours with --data-root DIR, or '
                f'run "make demo" for a first run without any data'
            )
        if labels not in (True, False, 'auto'):
            raise UserError(f"labels={labels!r} must be True, False or 'auto'")
        others: dict[str, int] = {}
        if ann_file:
            self.paths, self.labels = _read_ann_file(os.path.join(data_root, ann_file))
        else:
            suffixes = tuple(sorted(extension.lower() for extension in extensions))
            cache = _cache_path(index_cache, self.root, suffixes)
            listing = list_folder(self.root, suffixes, cache)
            self.paths, self.labels, others = listing.files, None, listing.left_out
        if not len(self.paths):
            but = f', but has {left_out.describe(others)}' if others else ''
            raise UserError(
                f'image folder {self.root!r} holds no image ({", ".join(extensions)}){but}; name '
                f'yours with --data-root DIR, or run "make demo" for a first run without any data'
            )
        left_out.tell(self.root.rstrip(os.sep), len(self.paths), others)
        if isinstance(classes, str):
            classes = None if ann_file else class_folders(os.path.join(data_root, classes))
        if not labels:
            self.labels = None
        elif not ann_file:
            classes = self._label_by_folders(classes, strict=labels is True or classes is not None)
        elif labels is True and self.labels is None:
            raise UserError(f'{ann_file!r} has lines without a label; add them, or labels=False')
        if self.labels is not None and classes is not None:
            self.classes = tuple(classes)

    def _label_by_folders(self, classes: Sequence[str] | None, strict: bool) -> tuple[str, ...]:
        """Set the labels, or None where they cannot be had and need not; gives the classes.

        Raises:
            UserError: If ``strict`` and an image lies in none of the classes' folders.
        """
        names = class_folders(self.root) if classes is None else tuple(classes)
        labels, odd = _folder_labels(self.paths, names)
        if not strict and (odd is not None or len(names) < 2):
            return names
        if odd is not None:
            folder, slash, _ = odd.partition('/')
            if slash and classes is not None:
                raise UserError(
                    f'{self.root!r} has a folder {folder!r}, which is none of the {len(names)} '
                    f'classes of training ({", ".join(names[:3])}{", ..." * (len(names) > 3)}): '
                    f'add it to the training images, or take it out'
                )
            raise UserError(
                f'{odd!r} in {self.root!r} lies in none of the class folders; move it into one, '
                f'or set labels=False'
            )
        self.labels = labels
        return names

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> str:
        """Full path of one image."""
        return os.path.join(self.root, self.paths[index])

    def name(self, index: int) -> str:
        """Path of one image below the folder."""
        return self.paths[index]

    def locate(self, index: int) -> dict:
        """Path and label of one image."""
        located: dict[str, Any] = dict(img_path=self.path(index))
        if self.labels is not None:
            located['gt_label'] = int(self.labels[index])
        return located


def class_folders(root: str) -> tuple[str, ...]:
    """Sorted names of the folders in ``root`` that are not hidden.

    Raises:
        UserError: If there is no such folder.
    """
    if not os.path.isdir(root):
        raise UserError(
            f'the classes are the sub-folders of {root!r}, which does not exist; set classes to '
            f'the folder of the training images, or to a list of names'
        )
    with os.scandir(root) as entries:
        names = [e.name for e in entries if not e.name.startswith('.') and is_folder(e)]
    return tuple(sorted(names, key=os.fsencode))


def _folder_labels(paths: PathList, classes: tuple[str, ...]) -> tuple[np.ndarray, str | None]:
    """Label per path, (N,) int32, and the first path that lies in no class folder, if any."""
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.full(len(paths), -1, np.int32)
    for index, path in enumerate(paths):
        folder, slash, _ = path.partition('/')
        labels[index] = numbers.get(folder, -1) if slash else -1
    odd = np.flatnonzero(labels < 0)
    return labels, paths[int(odd[0])] if len(odd) else None


def _read_ann_file(path: str) -> tuple[PathList, np.ndarray | None]:
    """Paths, and labels if every line has one."""
    if not os.path.isfile(path):
        raise UserError(f'ann_file {path!r} does not exist; write one "path label" per line')
    paths, labels = [], []
    with open(path, encoding='utf-8', errors='surrogateescape') as file:
        for line in filter(None, map(str.strip, file)):
            name, _, label = line.rpartition(' ')
            if name and label.isdigit():
                labels.append(int(label))
                paths.append(name.strip())
            else:
                paths.append(line)
    complete = bool(paths) and len(labels) == len(paths)
    return PathList.of(paths), np.array(labels, np.int32) if complete else None


def _cache_path(index_cache: str | bool, root: str, suffixes: tuple[str, ...]) -> Path | None:
    if isinstance(index_cache, str):
        return Path(index_cache)
    if not index_cache:
        return None
    return cache_folder() / f'index-{digest(os.path.realpath(root), *suffixes)}.npz'
