"""The data benchmark: its peers compute the same crops, its report has every part."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tools'))

import benchmark
from benchmarks import data_contestants as contestants


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return contestants.make_photos(tmp_path_factory.mktemp('photos'), (300, 225), 6)


def test_the_mended_peer_gives_the_shipped_ones_pixels(photos):
    pixels = []
    for mended in (False, True):
        np.random.seed(0)
        run = contestants.mmpretrain(mended)
        pixels.append([run(path, 0)['inputs'].numpy() for path in photos])
    np.testing.assert_array_equal(*pixels)
    assert pixels[0][0].shape == (3, 224, 224)


def test_quality_is_what_the_readme_promises(photos):
    found = contestants.quality(photos)
    assert found['median'] >= 45 and found['worst'] >= 36
    assert found['greatest'] <= 1 and found['mean'] < 0.05


def test_turned_photos_are_compared_upright(photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    path = tmp_path / 'turned.jpg'
    Image.open(photos[0]).save(path, quality=90, exif=exif)
    found = contestants.quality([str(path)])
    assert found['greatest'] <= 1 and found['mean'] < 0.05


def test_broken_images_are_left_out_and_named(photos, tmp_path, capsys):
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(Path(photos[0]).read_bytes()[:2000])
    assert contestants.readable([photos[0], str(broken)]) == [photos[0]]
    assert str(broken) in capsys.readouterr().out


def test_report(photos, tmp_path, capsys):
    benchmark.main(
        ['data', '--data-root', str(Path(photos[0]).parent), '--rounds', '1', '--no-peers',
         '--workers', '1', '--gpu-rate', '900', '--out', str(tmp_path)]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert 'images/s: ' in printed and 'mae_plugin, 4 crops per image' in printed
    report = json.loads((tmp_path / 'input_path.json').read_text())
    assert len(report['tables']) == 4
    loader = report['tables']['Data loader, batches of 64']
    assert [row['images in'] for row in loader] == ['files', 'shards']
    assert all(row['images/s']['median'] > 0 for row in loader)
