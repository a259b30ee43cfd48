"""Samples of a folder of windows are uniform over the area of all its images."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import stats

from mae_plugin.datasets import ConcatDataset, StreamSampler, WindowFolder
from mae_plugin.errors import UserError

SIZES = {'large.tif': (512, 640), 'middle.tif': (256, 320), 'small.tif': (64, 80)}
PIPELINE = [
    dict(type='LoadRandomWindow', size=32, scale=(1, 1), channels=1, flip_prob=0),
    dict(type='PackInputs'),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    root = tmp_path / 'data'
    root.mkdir()
    for name, size in SIZES.items():
        pixels = np.arange(size[0] * size[1]).reshape(size).astype(np.float32)
        tifffile.imwrite(root / name, pixels, tile=(64, 64))
    return str(root)


def build(folder: str, **options) -> WindowFolder:
    return WindowFolder(folder, window=32, pipeline=PIPELINE, index_cache=False, **options)


def test_images_come_in_proportion_to_their_area_and_windows_uniformly(folder):
    dataset = build(folder, seed=3)
    areas = {name: size[0] * size[1] for name, size in SIZES.items()}
    total = sum(areas.values())
    assert len(dataset) == round(total / 32**2)
    counts = dict.fromkeys(SIZES, 0)
    cells = np.zeros((8, 8))
    passes = 6
    for epoch in range(passes):
        in_pass = dict.fromkeys(SIZES, 0)
        for index in range(len(dataset)):
            sample = dataset[(epoch, index)]['data_samples']
            name = Path(sample.img_path).name
            counts[name] += 1
            in_pass[name] += 1
            if name == 'large.tif':
                top, left, height, width = sample.crop_box
                assert (height, width) == (32, 32)
                cells[top * 8 // (512 - 31), left * 8 // (640 - 31)] += 1
        for name, area in areas.items():  # each pass comes as near as whole samples can
            assert abs(in_pass[name] - len(dataset) * area / total) < 2
    samples = passes * len(dataset)
    expected = [samples * area / total for area in areas.values()]
    assert stats.chisquare(list(counts.values()), expected).pvalue > 0.001
    rows = np.diff(np.ceil(np.arange(9) * (512 - 31) / 8))
    columns = np.diff(np.ceil(np.arange(9) * (640 - 31) / 8))
    share = np.outer(rows, columns) / (481 * 609)
    assert stats.chisquare(cells.ravel(), (share * cells.sum()).ravel()).pvalue > 0.001


def test_tiny_images_beside_a_large_one_are_shown_too(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    root = tmp_path / 'data'
    root.mkdir()
    for number in range(40):
        tifffile.imwrite(root / f'{number:02}.tif', np.zeros((8, 8), np.uint8))
    tifffile.imwrite(root / 'x.tif', np.zeros((320, 320), np.uint8))
    dataset = WindowFolder(str(root), window=32, pipeline=PIPELINE, index_cache=False)
    rng = np.random.default_rng(0)
    drawn = [dataset.image_of(i, rng) for _ in range(200) for i in range(len(dataset))]
    counts = np.bincount(drawn, minlength=41)
    areas = np.array([64.0] * 40 + [320 * 320.0])
    assert stats.chisquare(counts, areas / areas.sum() * counts.sum()).pvalue > 0.001
    assert counts.min() > 0


def keys(dataset, sampler) -> list:
    samples = [dataset[item]['data_samples'] for item in sampler]
    return [(s.sample_key, Path(s.img_path).name, s.crop_box) for s in samples]


def test_resuming_and_processes_see_the_same(folder, monkeypatch):
    dataset = build(folder)
    sampler = StreamSampler(dataset, batch_size=8, seed=5)
    assert dataset.seed == 5
    whole = keys(dataset, sampler)
    sampler.set_position(8 * 20)
    assert keys(build(folder, seed=5), sampler) == whole[8 * 20 :]
    parts = []
    for rank in range(2):
        module = 'mae_plugin.datasets.sampler.get_dist_info'
        monkeypatch.setattr(module, lambda rank=rank: (rank, 2))
        parts.append(keys(build(folder, seed=5), StreamSampler(dataset, batch_size=4, seed=5)))
    assert [item for pair in zip(*parts) for item in pair] == whole


def test_bad_files_are_left_out_and_parts_of_a_concat_keep_their_law(folder):
    (Path(folder) / 'a.tif').write_bytes(b'II*\0broken')
    (Path(folder) / 'z.tif').write_bytes(b'')
    dataset = build(folder, seed=0)
    seen = {Path(dataset[i]['data_samples'].img_path).name for i in range(len(dataset))}
    assert seen == {'large.tif', 'middle.tif', 'small.tif'} or seen == {'large.tif', 'middle.tif'}
    joined = ConcatDataset([build(folder), build(folder)], seed=0)
    assert len(joined) == 2 * len(dataset)
    names = [Path(joined[i]['data_samples'].img_path).name for i in range(len(joined))]
    assert abs(names.count('large.tif') / len(names) - 0.7925) < 0.02
    for name in SIZES:
        (Path(folder) / name).unlink()
    with pytest.raises(UserError, match=r'none of the 2 images can be used, the first: .*a\.tif'):
        build(folder)


def test_samples_of_a_pass_may_be_stated(folder):
    assert len(build(folder, samples=50)) == 50
    with pytest.raises(UserError, match='samples=0'):
        build(folder, samples=0)
