"""COCO-style annotation files of the user's own images."""

import json
import os
from pathlib import Path
from typing import Any

from mae_plugin.cli.transfer.data import (
    SPLITS,
    Labelled,
    Split,
    existing_folder,
    first_existing,
    hold_out,
    look_at,
)
from mae_plugin.errors import MissingFileError, UserError
from mae_plugin.files import atomic_write


def read_coco(
    train: str, val: str | None, images: str | None, channels: int, out: Path
) -> Labelled:
    """Find the images of COCO files, and a validation set.

    Args:
        train: JSON file of the training set.
        val: That of the validation set. By default the file beside it whose name has ``val`` for
            ``train``; else each tenth image is held out, in two files that are written to
            ``out``.
        images: Folder of the images; by default looked for around the file.
        channels: That the run was pretrained on.
        out: Folder for what is written.

    Raises:
        UserError: If a file is missing or none of COCO's, an image is not found, or the classes
            of the two sets differ.
    """
    content = _content(train)
    classes = _classes(content, train)
    val = val or _sibling(train)
    if val is None:
        part, rest = _parts(content, train)
        stem = Path(train).stem
        train_file, val_file = (out / f'{stem}_{name}.json' for name in ('kept', 'held_out'))
        folder = _images(train, part, images)
        atomic_write(train_file, json.dumps(part).encode())
        atomic_write(val_file, json.dumps(rest).encode())
        splits = [
            Split(folder, os.path.abspath(file), _names(half))
            for file, half in ((train_file, part), (val_file, rest))
        ]
    else:
        other = _content(val)
        if _classes(other, val) != classes:
            raise UserError(
                f'{val} has the classes {_classes(other, val)}, and {train} {classes}: the '
                'categories of both must be the same, in the same order'
            )
        splits = [
            Split(_images(file, half, images), os.path.abspath(file), _names(half))
            for file, half in ((train, content), (val, other))
        ]
    paths = [os.path.join(splits[0].images, name) for name in splits[0].names]
    return Labelled(
        splits[0],
        splits[1],
        classes,
        look_at(paths, channels),
        masks=all(a.get('segmentation') for a in content['annotations']),
        held_out=val is None,
    )


def _content(file: str) -> dict[str, Any]:
    if not os.path.isfile(file):
        raise MissingFileError(f'{file}: no such file: give a JSON file in the format of COCO')
    try:
        with open(file, encoding='utf-8') as opened:
            content = json.load(opened)
    except ValueError as error:
        raise UserError(f'{file} is no JSON: {error}') from error
    wanted = ('images', 'annotations', 'categories')
    missing = [name for name in wanted if not isinstance(content, dict) or not content.get(name)]
    if missing:
        raise UserError(f'{file} is not in the format of COCO: it has no {", ".join(missing)}')
    return content


def _classes(content: dict[str, Any], file: str) -> list[str]:
    names = [str(category['name']) for category in content['categories']]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f'{file} has several categories of the name {min(twice)!r}: rename them')
    return names


def _names(content: dict[str, Any]) -> list[str]:
    return [image['file_name'] for image in content['images']]


def _sibling(train: str) -> str | None:
    """The validation set's file beside the training set's."""
    path = Path(train)
    for split in SPLITS:
        other = path.with_name(path.name.replace('train', split))
        if other != path and other.is_file():
            return str(other)
    return None


def _parts(content: dict[str, Any], file: str) -> tuple[dict, dict]:
    """The same content with nine tenths of the images, and with the rest."""
    labelled = {annotation['image_id'] for annotation in content['annotations']}
    ids = [image['id'] for image in content['images'] if image['id'] in labelled]
    if len(ids) < 2:
        raise UserError(f'{file} has annotations of {len(ids)} images: two or more are needed')
    held = set(hold_out(ids)[1])

    def half(chosen: bool) -> dict[str, Any]:
        return dict(
            content,
            images=[image for image in content['images'] if (image['id'] in held) == chosen],
            annotations=[a for a in content['annotations'] if (a['image_id'] in held) == chosen],
        )

    return half(False), half(True)


def _images(file: str, content: dict[str, Any], given: str | None) -> str:
    """The folder in which the file's images lie."""
    names = _names(content)
    if given is not None:
        root = existing_folder('--images', given)
        places = [root]
    else:
        root = os.path.dirname(os.path.abspath(file))
        places = [root, os.path.dirname(root)]
    split = Path(file).stem.rpartition('_')[2]
    folders = [
        os.path.join(place, *below)
        for place in places
        for below in ((), ('images',), (split,), ('images', split), (split, 'images'))
    ]
    found = first_existing(folders, names)
    if found is None:
        raise UserError(
            f'{file}: its image {names[0]!r} is not in {", ".join(folders[:3])} or around: name '
            'the folder with --images DIR'
        )
    return found
