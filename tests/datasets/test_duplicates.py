"""The same picture in other bytes is found: resized, recompressed, mirrored."""

import itertools

import numpy as np
import skimage.data
from PIL import Image, ImageOps

from mae_plugin.datasets.duplicates import groups, near_duplicates, picture_print

CHANGES = {
    'smaller': lambda image: image.resize((90, 90)),
    'larger': lambda image: image.resize((260, 260)),
    'mirrored': ImageOps.mirror,
    'upside down': ImageOps.flip,
    'turned by 180 degrees': lambda image: image.rotate(180),
    'packed': lambda image: image,
}


def test_known_copies_among_photographs(tmp_path):
    sources = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    paths, pictures = [], []
    for number in range(90):  # many overlap, which is no copy
        source = sources[number % 3]
        top, left = (17 * number) % (source.shape[0] - 180), (43 * number) % 200
        image = Image.fromarray(source[top : top + 180, left : left + 180])
        paths.append(str(tmp_path / f'{number}.png'))
        pictures.append(number)
        image.save(paths[-1])
        if number % 3 == 0:
            name = list(CHANGES)[number // 3 % len(CHANGES)]
            paths.append(str(tmp_path / f'{number}-{name}.jpg'))
            pictures.append(number)
            CHANGES[name](image).save(paths[-1], quality=40 + number % 50)
    found = near_duplicates([picture_print(path, {}) for path in paths])
    pairs = {pair for group in found for pair in itertools.combinations(group, 2)}
    all_pairs = itertools.combinations(range(len(paths)), 2)
    copies = {(a, b) for a, b in all_pairs if pictures[a] == pictures[b]}
    assert len(copies) == 30
    assert len(pairs & copies) / len(copies) >= 0.96  # recall
    assert len(pairs & copies) / len(pairs) >= 0.96  # precision


def test_flat_and_broken_pictures_are_copies_of_none(tmp_path):
    paths = [str(tmp_path / f'{number}.png') for number in range(3)]
    for path in paths[:2]:
        Image.fromarray(np.full((40, 40), 7, np.uint8)).save(path)
    (tmp_path / '2.png').write_bytes(b'broken')
    prints = [picture_print(path, {}) for path in paths]
    assert all(print_.thumb is None for print_ in prints)
    assert near_duplicates(prints) == []


def test_groups():
    assert groups([(5, 1), (2, 3), (1, 7)]) == [[1, 5, 7], [2, 3]]
