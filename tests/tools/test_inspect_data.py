"""A folder of images becomes a screen, a page and a config that trains."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image, ImageOps

from mae_plugin.cli import data_sources
from mae_plugin.cli.data_config import RECIPES, recipe_for, run_name, size_and_patch
from mae_plugin.cli.write_data_report import write_data_report
from mae_plugin.datasets.header_cache import HeaderCache
from mae_plugin.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def write_photos(folder: Path) -> None:
    source = skimage.data.astronaut()
    for number in range(24):
        path = folder / 'ab'[number % 2] / f'{number:02}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        top, left = 11 * number, 97 * number % 250
        image = Image.fromarray(source[top : top + 200, left : left + 230])
        image.save(path)
        if number == 4:
            (path.parent / 'same.jpg').write_bytes(path.read_bytes())
        if number == 7:
            ImageOps.mirror(image).resize((120, 105)).save(path.parent / 'mirror.png')
    (folder / 'a' / 'empty.jpg').touch()
    (folder / 'b' / 'cut.jpg').write_bytes((folder / 'b' / '01.jpg').read_bytes()[:900])


@pytest.mark.slow
def test_photos_from_folder_to_first_steps(tmp_path, capsys):
    write_photos(tmp_path / 'photos')
    write_data_report([str(tmp_path / 'photos')], str(tmp_path / 'out'), workers=1)
    screen = capsys.readouterr().out
    for words in (
        '28 files, 2 of them unusable', 'JPEG 25, PNG 1', 'empty file',
        '2 class folders of', '(all 26 images)',
    ):  # fmt: skip
        assert words in screen, words
    told = dict(line.split('  ', 1) for line in screen.splitlines() if '  ' in line)
    assert told['the same file again'].strip() == '1'
    assert told['the same picture again'].strip().startswith('1 ')
    page = (tmp_path / 'out' / 'data_report.html').read_text()
    assert page.count('<img') >= 26 and 'cut.jpg' in page and '<svg' in page
    cfg = Config.fromfile(tmp_path / 'out' / 'config.py')
    assert cfg.model.data_preprocessor.mean == pytest.approx(
        json.loads(told['mean (all 26 images)'])
    )
    done = subprocess.run(
        [
            sys.executable, ROOT / 'tools/train.py', tmp_path / 'out/config.py',
            '--work-dir', tmp_path / 'run', '--batch-size', '6', '--cfg-options',
            'train_cfg.max_epochs=1', 'train_dataloader.sampler.repeats=1',
            'train_dataloader.num_workers=0',
            'param_scheduler.0.end=1', 'param_scheduler.1.begin=0',
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / 'run/epoch_1.pth').exists()


def test_bands_with_missing_values(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.random((90, 80, 12)).astype(np.float32) * 50 + 10
        pixels[:20] = -9999
        folder = tmp_path / ('one' if number % 2 else 'two')
        folder.mkdir(exist_ok=True)
        tifffile.imwrite(
            folder / f'{number}.tif', pixels, photometric='minisblack', planarconfig='contig'
        )
    roots = [str(tmp_path / 'one'), str(tmp_path / 'two')]
    write_data_report(roots, str(tmp_path / 'out'), everything=True, workers=1)
    cfg = Config.fromfile(tmp_path / 'out' / 'config.py')
    assert np.allclose(cfg.model.data_preprocessor.mean, 35, atol=0.5)
    assert len(cfg.model.data_preprocessor.std) == cfg.model.backbone.in_channels == 12
    assert cfg.work_dir == 'work_dirs/mae_one-two'
    parts = cfg.train_dataloader.dataset.datasets
    assert [part.data_root for part in parts] == roots
    assert parts[0].pipeline[0].nodata == -9999 and parts[0].pipeline[0].channels == 12
    assert (cfg.img_size, cfg.patch_size) == (96, 8)
    text = ' '.join((tmp_path / 'out' / 'config.py').read_text().split())
    assert 'far from photographs' in text and 'mae-base-full' not in text
    assert 'all pixels' in capsys.readouterr().out


def test_a_sample_of_the_images_is_within_a_hundredth_of_all_pixels(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'many').mkdir()
    pixels = []
    for number in range(500):
        spread = rng.uniform(28, 32)
        image = rng.normal(rng.normal(120, 3, 3), spread, (rng.integers(20, 40), 30, 3))
        pixels.append(np.clip(np.rint(image), 0, 255).astype(np.uint8))
        Image.fromarray(pixels[-1]).save(tmp_path / 'many' / f'{number}.png')
    everything = np.concatenate([image.reshape(-1, 3) for image in pixels]).astype(np.float64)
    mean, std = everything.mean(0), everything.std(0)
    for whole in (False, True):
        write_data_report([str(tmp_path / 'many')], str(tmp_path / 'out'), whole, workers=1)
        told = Config.fromfile(tmp_path / 'out/config.py').model.data_preprocessor
        tolerance = 1e-5 if whole else 0.01  # a config has six digits
        np.testing.assert_allclose(told.mean, mean, rtol=tolerance)
        np.testing.assert_allclose(told.std, std, rtol=tolerance)
        sampled = 'all pixels' if whole else '128 images'
        assert f'# Of {sampled}' in (tmp_path / 'out/config.py').read_text()


@pytest.mark.slow
def test_large_images_are_shown_in_windows(tmp_path):
    (tmp_path / 'slides').mkdir()
    tiles = (np.full((256, 256), n % 200, np.uint16) for n in range(100))
    tifffile.imwrite(
        tmp_path / 'slides' / 'a.tif', tiles, shape=(2560, 2560), dtype=np.uint16, tile=(256, 256)
    )
    write_data_report([str(tmp_path / 'slides')], str(tmp_path / 'out'), workers=1)
    dataset = Config.fromfile(tmp_path / 'out' / 'config.py').train_dataloader.dataset
    assert dataset.type == 'mae_plugin.WindowFolder'
    assert dataset.pipeline[0].type == 'mae_plugin.LoadRandomWindow'
    assert dataset.pipeline[0].keep_depth and dataset.pipeline[0].channels == 1


def test_starting_weights_and_what_is_missing(tmp_path):
    write_photos(tmp_path / 'photos')
    weights = tmp_path / 'full.pth'
    with pytest.raises(UserError, match=r'full\.pth does not exist'):
        write_data_report([str(tmp_path / 'photos')], str(tmp_path / 'out'), False, str(weights))
    weights.touch()
    write_data_report(
        [str(tmp_path / 'photos')], str(tmp_path / 'out'), False, str(weights), workers=1
    )
    cfg = Config.fromfile(tmp_path / 'out' / 'config.py')
    assert cfg.load_from == str(weights) and cfg.model.backbone.arch == 'base'
    with pytest.raises(UserError, match='mae-bse does not exist: did you mean mae-base'):
        write_data_report([str(tmp_path / 'photos')], str(tmp_path / 'out'), False, 'mae-bse')
    write_data_report(
        [str(tmp_path / 'photos')], str(tmp_path / 'out'), False, 'mae-base-full', workers=1
    )
    assert Config.fromfile(tmp_path / 'out' / 'config.py').load_from == 'mae-base-full'
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad' / 'a.jpg').touch()
    with pytest.raises(UserError, match='none of the 1 images can be used'):
        write_data_report([str(tmp_path / 'bad')], str(tmp_path / 'out'), workers=1)


def test_headers_are_read_once_and_anew_where_a_file_changed(tmp_path):
    write_photos(tmp_path / 'photos')
    names = [f'a/{number:02}.jpg' for number in range(0, 24, 2)]
    cache = HeaderCache(tmp_path / 'headers.json')
    first = cache.read(str(tmp_path / 'photos'), names)

    asked = []

    def read(paths):
        asked.extend(paths)
        return [first[0]] * len(paths)

    again = HeaderCache(tmp_path / 'headers.json')
    assert again.read(str(tmp_path / 'photos'), names, read) == first and not asked
    Image.new('L', (9, 7)).save(tmp_path / 'photos' / names[3])
    again.read(str(tmp_path / 'photos'), names, read)
    assert asked == [str(tmp_path / 'photos' / names[3])]
    (tmp_path / 'headers.json').write_text('{"version": 1, "hea')
    assert HeaderCache(tmp_path / 'headers.json').read(str(tmp_path / 'photos'), names)[3][1] == 7


def test_choices():
    assert recipe_for(999).scratch == 'tiny' and recipe_for(5_000_000).arch == 'large'
    assert [recipe.epochs for recipe in RECIPES] == [800, 800, 400, 300, 200, 50]
    for sides, expected in (
        ([300], (224, 16)),
        ([130], (128, 8)),
        ([60], (64, 4)),
        ([9], (32, 4)),
    ):
        size, patch, _ = size_and_patch(sides, False)
        assert (size, patch) == expected and size % patch == 0
    assert size_and_patch([60], True)[:2] == (224, 16)
    assert run_name(['/a/birds/images', "/a/it's more.txt"]) == 'birds-images-it_s_more'
    assert run_name(['shards/train-{000..127}.tar']) == 'train-_000_127'
    assert run_name(['/']) == 'images'


def test_percentiles_of_sixteen_bits_are_fitted_once(tmp_path, capsys):
    (tmp_path / 'scans').mkdir()
    rng = np.random.default_rng(0)
    scans = rng.integers(1000, 3000, (12, 200, 210)).astype(np.uint16)
    scans[:, 0, 0] = 60_000  # a hot pixel
    for number, scan in enumerate(scans):
        tifffile.imwrite(tmp_path / 'scans' / f'{number}.tif', scan)
    places = [str(tmp_path / 'scans')], str(tmp_path / 'out')
    write_data_report(*places, workers=1, percentiles=(0.5, 99.5))
    load = Config.fromfile(tmp_path / 'out/config.py').train_dataloader.dataset.pipeline[0]
    expected = np.percentile(scans, [0.5, 99.5])
    assert np.allclose(load.value_range, expected, rtol=0.005) and 'keep_depth' not in load
    told = capsys.readouterr().out
    assert 'become 0 to 255' in told
    # Mean and std are those of what the loader gives.
    low, high = load.value_range
    scaled = np.rint(np.clip((scans - low) / (high - low), 0, 1) * 255)
    preprocessor = Config.fromfile(tmp_path / 'out/config.py').model.data_preprocessor
    assert preprocessor.mean == pytest.approx([scaled.mean()], rel=1e-3)
    assert preprocessor.std == pytest.approx([scaled.std()], rel=1e-3)
    with pytest.raises(UserError, match='must rise, from 0 to 100'):
        write_data_report(*places, workers=1, percentiles=(99.0, 1.0))
    write_photos(tmp_path / 'photos')
    with pytest.raises(UserError, match='more than 8 bits, and there are none'):
        write_data_report(
            [str(tmp_path / 'photos')], str(tmp_path / 'out'), workers=1, percentiles=(1.0, 99.0)
        )


def pack(folder: Path, shard: Path) -> None:
    shard.parent.mkdir(exist_ok=True)
    with tarfile.open(shard, 'w') as tar:
        for path in sorted(folder.rglob('*.jpg')):
            tar.add(path, f'{path.parent.name}_{path.name}')


def dataset_of(config: Path):
    """The images of a config, built and read."""
    cfg = Config.fromfile(config)
    init_default_scope('mae_plugin')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset[0]['inputs'].shape == (3, cfg.img_size, cfg.img_size)
    return dataset


def test_a_list_file(tmp_path, capsys):
    write_photos(tmp_path / 'photos')
    chosen = [f'photos/a/{number:02}.jpg' for number in range(0, 24, 2)]
    chosen.append(str(tmp_path / 'photos/b/01.jpg'))
    (tmp_path / 'files.txt').write_text('\n'.join(chosen))
    write_data_report([str(tmp_path / 'files.txt')], str(tmp_path / 'out'), workers=1)
    assert '13 files, 0 of them unusable' in capsys.readouterr().out
    assert len(dataset_of(tmp_path / 'out/config.py')) == 13
    (tmp_path / 'wrong.txt').write_text('nothing.jpg\n')
    with pytest.raises(UserError, match='none of its 1 files is there'):
        write_data_report([str(tmp_path / 'wrong.txt')], str(tmp_path / 'out'), workers=1)


@pytest.mark.slow
@pytest.mark.parametrize('form', ['folder', 'pattern', 'beside a folder'])
def test_shards(tmp_path, capsys, monkeypatch, form):
    monkeypatch.setattr(data_sources, 'UNPACKED', 10)
    write_photos(tmp_path / 'photos')
    (tmp_path / 'photos/a/empty.jpg').unlink()
    (tmp_path / 'photos/b/cut.jpg').unlink()
    pack(tmp_path / 'photos/a', tmp_path / 'shards/x-0.tar')
    pack(tmp_path / 'photos/b', tmp_path / 'shards/x-1.tar')
    places = [str(tmp_path / 'shards')]
    if form == 'pattern':
        places = [str(tmp_path / 'shards/x-{0..1}.tar')]
    elif form == 'beside a folder':
        places.append(str(tmp_path / 'photos'))
    write_data_report(places, str(tmp_path / 'out'), workers=1)
    told = capsys.readouterr().out
    counts = '36 files, of 51' if form == 'beside a folder' else '10 files, of 25'
    assert counts in told
    dataset = dataset_of(tmp_path / 'out/config.py')
    assert len(dataset) == (51 if form == 'beside a folder' else 25)
    page = (tmp_path / 'out/data_report.html').read_text()
    assert page.count('<img') >= 10
    if form == 'folder':
        write_data_report(places, str(tmp_path / 'out'), everything=True, workers=1)
        assert '25 files, 0 of them' in capsys.readouterr().out
