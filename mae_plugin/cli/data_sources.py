"""Where the images of a data set lie: folders, list files, tar shards."""

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_plugin.datasets.image_folder import ImageFolder
from mae_plugin.datasets.shards.image_shards import ImageShards
from mae_plugin.datasets.window_folder import WINDOW_EXTENSIONS
from mae_plugin.errors import UserError

UNPACKED = 2000  # images of shards that are looked at
_LISTS = ('.txt', '.lst')


class Source(NamedTuple):
    """One part of a data set.

    Attributes:
        dataset: Type and place, as a config names them.
        root: Folder that ``names`` are relative to.
        names: Image files that are looked at.
        total: Images that there are.
        labels: Class number of each name, and their names; None without labels.
    """

    dataset: dict[str, Any]
    root: str
    names: list[str]
    total: int
    labels: tuple[np.ndarray, tuple[str, ...]] | None = None


def open_source(
    place: str, scratch: Path, everything: bool, progress: Callable[[str, int, int], None]
) -> Source:
    """Find the images of a folder, of a list file, or of shards.

    Args:
        place: A folder; a text file with a path on each line, relative to itself or absolute; a
            ``.tar``, a pattern of them, or a folder of them.
        scratch: Where images of shards are unpacked.
        everything: Unpack all of them.
        progress: Told what is being done, how many are done, and of how many.

    Raises:
        UserError: If there is no image.
    """
    if is_shards(place):
        return _shards(place, scratch, everything, progress)
    if place.lower().endswith(_LISTS) and os.path.isfile(place):
        folder, name = os.path.split(os.path.abspath(place))
        images = ImageFolder(folder, ann_file=name, labels=False)
        dataset = dict(type='mae_plugin.ImageFolder', data_root=folder, ann_file=name)
        missing = [path for path in images.paths if not os.path.exists(os.path.join(folder, path))]
        if len(missing) == len(images):
            raise UserError(
                f'{place}: none of its {len(missing):,} files is there, the first: {missing[0]}: '
                f'give paths relative to {folder}, or absolute ones'
            )
        return Source(dataset, folder, list(images.paths), len(images))
    images = ImageFolder(place, extensions=WINDOW_EXTENSIONS)
    labels = None
    if images.labels is not None and images.classes:
        labels = images.labels, images.classes
    dataset = dict(type='mae_plugin.ImageFolder', data_root=os.path.abspath(place))
    return Source(dataset, place, list(images.paths), len(images), labels)


def is_shards(place: str) -> bool:
    """Whether a place names tar shards."""
    if os.path.isdir(place):
        return bool(glob.glob(os.path.join(glob.escape(place), '*.tar')))
    return place.lower().endswith('.tar')


def _shards(
    place: str, scratch: Path, everything: bool, progress: Callable[[str, int, int], None]
) -> Source:
    shards = ImageShards(place, labels=False)
    count = len(shards) if everything else min(UNPACKED, len(shards))
    names = []
    scratch.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = shards.locate(number * len(shards) // count)
        # Apart from each other: shards may hold files of one name.
        name = f'{number:07}-{os.path.basename(image["img_path"])}'
        (scratch / name).write_bytes(image['img_bytes'])
        names.append(name)
        if number % 64 == 63 or number == count - 1:
            progress('unpacked', number + 1, count)
    local = os.path.exists(place) or glob.glob(place)
    dataset = dict(
        type='mae_plugin.ImageShards', shards=os.path.abspath(place) if local else place
    )
    return Source(dataset, str(scratch), names, len(shards))
