"""The user's own labelled images: what both hosts want to know of them."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mae_plugin.datasets.decoding.header import Header, read_header
from mae_plugin.errors import MissingFileError, UserError

HELD_OUT = 10  # each tenth image, where the data has no validation set
_LOOKED_AT = 200  # headers that tell the images' sizes
SPLITS = ('val', 'valid', 'validation', 'test')


class Split(NamedTuple):
    """Images and labels of a training or validation set.

    Attributes:
        images: Folder of the images, absolute.
        labels: The COCO file, or the folder of masks, absolute.
        names: Images in it, below ``images``; of a mask folder without their suffix.
        listed: Whether the host needs ``names``: the folder holds others too.
    """

    images: str
    labels: str
    names: list[str]
    listed: bool = False


class Labelled(NamedTuple):
    """A labelled data set.

    Attributes:
        train, val: Its splits.
        classes: Names, in the order of their numbers.
        sides: Shorter and longer side of half of the images, in pixels.
        suffixes: Of images and of masks, where the host looks for them in folders.
        masks: Whether objects have outlines, not only boxes.
        held_out: Whether ``val`` was taken from ``train``.
    """

    train: Split
    val: Split
    classes: list[str]
    sides: tuple[int, int]
    suffixes: tuple[str, str] = ('', '')
    masks: bool = True
    held_out: bool = False


def hold_out(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split names, the same way each time: each tenth is held out.

    Raises:
        UserError: If there is but one.
    """
    if len(names) < 2:
        raise UserError(f'{len(names)} labelled image: one to train on and one to test are needed')
    step = min(HELD_OUT, len(names))
    val = list(names[step - 1 :: step])
    return [name for number, name in enumerate(names) if (number + 1) % step], val


def look_at(paths: Sequence[str], channels: int) -> tuple[int, int]:
    """Median of the shorter and of the longer side, from some headers.

    Raises:
        UserError: If an image cannot be read, or has other channels than the run.
    """
    sides = []
    for path in evenly(paths, _LOOKED_AT):
        header = read_header(path)
        if header.reason:
            raise UserError(f'{path}: {header.reason}')
        _check_channels(path, header, channels)
        sides.append(sorted((header.height, header.width)))
    short, long = np.median(sides, axis=0)
    return round(short), round(long)


def evenly(items: Sequence[str], count: int) -> list[str]:
    """At most ``count`` of the items, spread evenly."""
    step = max(1, len(items) // count)
    return list(items[::step][:count])


def _check_channels(path: str, header: Header, channels: int) -> None:
    colours = {2: 1, 4: 3}  # without alpha, where the file is a picture
    if channels in {header.channels, colours.get(header.channels)}:
        return
    if {channels, colours.get(header.channels, header.channels)} <= {1, 3}:
        return
    if header.channels < channels:
        raise UserError(
            f'{path} has {header.channels} channels, and the run was pretrained on {channels}: '
            'give the images that it was made for, or another run'
        )


def existing_folder(option: str, folder: str) -> str:
    """The absolute path of a folder.

    Raises:
        UserError: If there is none.
    """
    if not os.path.isdir(folder):
        raise MissingFileError(f'{option} {folder}: no such folder')
    return os.path.abspath(folder)


def first_existing(folders: Iterable[str], names: Sequence[str]) -> str | None:
    """The first folder that holds some of the names, absolute."""
    wanted = evenly(names, 5)
    for folder in folders:
        if all(os.path.exists(os.path.join(folder, name)) for name in wanted):
            return os.path.abspath(folder)
    return None
