"""Folders of images and of masks, whose values are the numbers of classes."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mae_plugin.cli.transfer.data import (
    SPLITS,
    Labelled,
    Split,
    evenly,
    existing_folder,
    hold_out,
    look_at,
)
from mae_plugin.errors import UserError
from mae_plugin.files import atomic_write

IGNORED = 255
_IMAGES = ('images', 'image', 'img', 'imgs', 'JPEGImages')
_LOOKED_AT = 500  # masks whose values tell the number of classes
_SUFFIXES = ('.png', '.tif', '.tiff', '.bmp', '.gif')


def read_masks(
    folder: str,
    val: str | None,
    images: str | None,
    classes: Sequence[str] | None,
    channels: int,
    out: Path,
) -> Labelled:
    """Find the images of masks, a validation set and the classes.

    Args:
        folder: Masks, or folders ``train`` and ``val`` of masks.
        val: Masks of the validation set; by default the folder beside it of that name, else each
            tenth mask is held out, in two lists that are written to ``out``.
        images: Folder of the images, with the same names; by default the folder whose path has
            ``images`` for the name of the masks' folder.
        classes: Names in the order of the values; by default those of ``classes.json`` (a list)
            or ``classes.txt`` (a line for each) beside the masks, else ``class_0`` and so on.
        channels: That the run was pretrained on.
        out: Folder for what is written.

    Raises:
        UserError: If masks are no maps of numbers, images are missing, or names do not fit.
    """
    folder = existing_folder('--data', folder)
    if os.path.isdir(os.path.join(folder, 'train')):
        folder = os.path.join(folder, 'train')
    parent, name = os.path.split(folder)
    beside = [os.path.join(parent, split) for split in SPLITS if name.startswith('train')]
    val = val or next(filter(os.path.isdir, beside), None)
    train, suffixes = _split(folder, images)
    if val is None:
        kept, held = hold_out(train.names)
        splits = [train._replace(names=names, listed=True) for names in (kept, held)]
    else:
        other, theirs = _split(existing_folder('--val', val), images)
        if theirs != suffixes:
            raise UserError(f'{val} has files of other kinds, {theirs}, than {folder}, {suffixes}')
        splits = [train, other]
    for part, split in zip(('train', 'val'), splits):
        if split.listed:
            atomic_write(out / f'{part}.txt', ('\n'.join(split.names) + '\n').encode())
    masks = [
        os.path.join(split.labels, name + suffixes[1]) for split in splits for name in split.names
    ]
    return Labelled(
        splits[0],
        splits[1],
        _names(folder, _highest(masks) + 1, classes),
        look_at(
            [os.path.join(train.images, name + suffixes[0]) for name in train.names], channels
        ),
        suffixes=suffixes,
        held_out=val is None,
    )


def _split(masks: str, images: str | None) -> tuple[Split, tuple[str, str]]:
    """Pairs of image and mask, and the suffixes of both."""
    found = sorted(
        os.path.relpath(os.path.join(root, file), masks)
        for root, _, files in os.walk(masks)
        for file in files
        if not file.startswith('.') and file.lower().endswith(_SUFFIXES)
    )
    if not found:
        raise UserError(f'{masks} holds no masks: give a folder of {", ".join(_SUFFIXES)} files')
    places = _image_folders(masks, images)
    folder = next(filter(os.path.isdir, places), None)
    if folder is None:
        raise UserError(
            f'{masks}: no folder of its images such as {places[0]}: name it with --images DIR'
        )
    suffix = _only_suffix(masks, [os.path.splitext(name)[1] for name in found])
    files = [
        os.path.relpath(os.path.join(root, file), folder)
        for root, _, files in os.walk(folder)
        for file in files
        if not file.startswith('.')
    ]
    known = dict(map(os.path.splitext, files))
    names = [os.path.splitext(name)[0] for name in found]
    # Masks may say in their names that they are masks.
    tail = _tail(names, known)
    names = [name.removesuffix(tail) for name in names]
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(
            f'{masks}: no image of the name {missing[0]!r} in {folder} ({len(missing)} of '
            f'{len(names)} are missing): give the images of these masks with --images DIR'
        )
    image_suffix = _only_suffix(folder, [known[name] for name in names])
    listed = len(files) != len(names)
    return Split(folder, masks, names, listed), (image_suffix, tail + suffix)


def _tail(names: Sequence[str], known: dict[str, str]) -> str:
    if names[0] in known:
        return ''
    longest = max((image for image in known if names[0].startswith(image)), key=len, default=None)
    return '' if longest is None else names[0][len(longest) :]


def _image_folders(masks: str, given: str | None) -> list[str]:
    """Where images of masks may lie, the likeliest first."""
    split = os.path.basename(masks)
    if given is not None:
        given = existing_folder('--images', given)
        return [path for path in (os.path.join(given, split), given) if os.path.isdir(path)]
    parent, name = os.path.split(masks)
    top = os.path.dirname(parent)
    around = [os.path.join(top, image, split) for image in _IMAGES]  # images/train
    return around + [os.path.join(parent, image) for image in _IMAGES if image != name]


def _only_suffix(folder: str, suffixes: Sequence[str]) -> str:
    counts = Counter(suffixes)
    if len(counts) > 1:
        raise UserError(
            f'{folder} has {", ".join(sorted(counts))} files, and mmseg takes one kind in a data '
            'set: convert the others'
        )
    return suffixes[0]


def _highest(masks: Sequence[str]) -> int:
    """The largest class number in some of the masks."""
    highest = 0
    for path in evenly(masks, _LOOKED_AT):
        with Image.open(path) as mask:
            values = np.asarray(mask)
        if values.ndim != 2 or values.dtype.kind not in 'iub':
            raise UserError(
                f'{path} is a picture of {"colours" if values.ndim > 2 else values.dtype}: a mask '
                'has the number of a class in each pixel; make grey files or palettes of them'
            )
        used = values[values != IGNORED]
        highest = max(highest, int(used.max(initial=0)))
    if highest > IGNORED:
        raise UserError(
            f'masks have values up to {highest}, and mmseg classes from 0 to 254 (255 is left '
            'out): number the classes'
        )
    return highest


def _names(folder: str, count: int, given: Sequence[str] | None) -> list[str]:
    names = list(given or _written_names(folder))
    if names and len(names) == count - 1 and 'background' not in names:
        names = ['background', *names]  # the value 0
    if names and len(names) < count:
        raise UserError(
            f'{len(names)} classes are named, and masks in {folder} have values up to '
            f'{count - 1}: name {count} with --classes, in the order of the values'
        )
    return names or [f'class_{number}' for number in range(max(2, count))]


def _written_names(folder: str) -> list[str]:
    for place in (Path(folder), *list(Path(folder).parents)[:2]):
        if (place / 'classes.json').is_file():
            return list(map(str, json.loads((place / 'classes.json').read_text('utf-8'))))
        if (place / 'classes.txt').is_file():
            return (place / 'classes.txt').read_text('utf-8').split('\n')[:-1]
    return []
