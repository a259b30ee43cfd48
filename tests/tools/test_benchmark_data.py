"""The data benchmark: its peers compute the same crops, its report has every part."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tools' / 'dev'))

import benchmark
from benchmarks import data_contestants as contestants

SIZE = (224, 224)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return contestants.make_photos(tmp_path_factory.mktemp('photos'), (300, 225), 6)


def test_the_mended_peer_gives_the_shipped_ones_pixels(photos):
    pixels = []
    for mended in (False, True):
        np.random.seed(0)
        run = contestants.mmpretrain((64, 160), mended)
        pixels.append([run(path, 0)['inputs'].numpy() for path in photos])
    np.testing.assert_array_equal(*pixels)
    assert pixels[0][0].shape == (3, 64, 160)


def test_quality_is_what_the_readme_promises(photos):
    found = contestants.quality(photos, SIZE)
    assert found['median'] >= 45 and found['worst'] >= 36
    assert found['greatest'] <= 1 and found['mean'] < 0.05


def test_turned_photos_are_compared_upright(photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    path = tmp_path / 'turned.jpg'
    Image.open(photos[0]).save(path, quality=90, exif=exif)
    found = contestants.quality([str(path)], SIZE)
    assert found['greatest'] <= 1 and found['mean'] < 0.05


def test_broken_images_are_left_out_and_named(photos, tmp_path, capsys):
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(Path(photos[0]).read_bytes()[:2000])
    assert contestants.readable([photos[0], str(broken)], 3) == [photos[0]]
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


def measure(tmp_path, images, *args):
    """Run the benchmark on a folder of images; its report."""
    benchmark.main(
        ['data', '--data-root', str(images), '--rounds', '1', '--workers', '1', '--gpu-rate',
         '1000', '--out', str(tmp_path / 'out'), *map(str, args)]
    )  # fmt: skip
    return json.loads((tmp_path / 'out/input_path.json').read_text())


def test_crops_of_other_sizes_and_channels(tmp_path, capsys):
    chips = tmp_path / 'chips'
    chips.mkdir()
    for number in range(9):
        pixels = np.random.default_rng(number).integers(0, 4000, (40, 80, 5))
        np.save(chips / f'{number}.npy', pixels.astype(np.uint16))
    (chips / 'broken.npy').write_bytes(b'')
    report = measure(tmp_path, chips, '--size', 32, 64, '--channels', 5, '--images', 8)
    assert report['settings']['images'] in (7, 8)  # less the broken one, if it was drawn
    assert f'images: {report["settings"]["images"]},' in capsys.readouterr().out
    (rates,) = (rows for name, rows in report['tables'].items() if name.startswith('One core'))
    assert not any('mmpretrain' in row['pipeline'] for row in rates)
    notes = ' '.join(report['notes'])
    assert 'left out' in notes
    sent, size = ('uint16', 2) if hasattr(torch, 'uint16') else ('float32', 4)
    kilobytes = 5 * 32 * 64 * size / 1e3
    assert f'as {sent}: {kilobytes:.0f} kB an image, {kilobytes:.1f} MB/s' in notes


def test_peers_cut_the_same_shape(photos, tmp_path):
    report = measure(tmp_path, Path(photos[0]).parent, '--size', 64, 160, '--images', 4)
    rates = report['tables'][f'One core, {Path(photos[0]).parent}']
    assert sum('mmpretrain' in row['pipeline'] for row in rates) == 2
    assert report['settings']['images'] == 4
    assert f'as uint8: {3 * 64 * 160 / 1e3:.0f} kB an image' in ' '.join(report['notes'])


@pytest.mark.parametrize(
    'args, part',
    [
        (['--size', 1, 2, 3], '--size 1 2 3'),
        (['--size', 0], '--size 0'),
        (['--channels', 0], '--channels 0'),
        (['--images', 0], '--images 0'),
        (['--channels', 12], 'none of 6 images can be used with --channels 12'),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(photos, tmp_path, capsys, args, part):
    with pytest.raises(SystemExit) as stop:
        measure(tmp_path, Path(photos[0]).parent, *args)
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith('error: ') and part in line and line.count('\n') == 1
