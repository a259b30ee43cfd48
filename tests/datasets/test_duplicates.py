"""The same picture in other bytes is found: resized, recompressed, mirrored."""

import itertools

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageOps

from mae_plugin.datasets.decoding.decode import ImageSource
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


@pytest.mark.parametrize('planar', ['contig', 'separate'])
def test_a_large_scan_is_compared_without_decoding_it(tmp_path, monkeypatch, planar):
    photo = Image.fromarray(skimage.data.astronaut()[:, :400])
    pixels = np.asarray(photo.resize((2600, 3100)))
    stored = np.moveaxis(pixels, 2, 0) if planar == 'separate' else pixels
    scan, copy = str(tmp_path / 'scan.tif'), str(tmp_path / 'copy.jpg')
    tifffile.imwrite(scan, stored, tile=(256, 256), photometric='rgb', planarconfig=planar)
    photo.save(copy, quality=60)
    parts, read_window = [], ImageSource.read_window

    def window(self, *args, **kwargs):
        parts.append(args[2] * args[3])
        return read_window(self, *args, **kwargs)

    monkeypatch.setattr(ImageSource, 'read_window', window)
    monkeypatch.setattr(ImageSource, 'read', lambda self, scale: pytest.fail('decoded whole'))
    large = picture_print(scan, {})
    monkeypatch.undo()
    assert sum(parts) == 2600 * 3100 and max(parts) <= 1 << 22
    assert near_duplicates([large, picture_print(copy, {})]) == [[0, 1]]


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
