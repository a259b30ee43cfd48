"""Features of a folder: what is in the table, how an interrupted call goes on, what is drawn."""

import csv
import re
import sys
from functools import partial

import cv2
import numpy as np
import pytest
import tifffile
import torch
from front_door import run_tool, tiny_config, train, write_images
from PIL import Image
from pyarrow import parquet
from sklearn.decomposition import PCA

from mae_plugin.checkpoint import export_checkpoint, write_export
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.cli import embed_folder
from mae_plugin.evaluation import embedding
from mae_plugin.evaluation.embedding import Job, embed_parts, prepare, read_parts
from mae_plugin.evaluation.stored_model import model_of_checkpoint
from mae_plugin.visualization.feature_map import project


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A tiny run, and images in two folders, one of them broken."""
    root = tmp_path_factory.mktemp('embed')
    for seed, name in enumerate(('dogs', 'cats')):
        write_images(root / 'images' / name, 5, (16, 16), seed=seed)
    config = tiny_config(root / 'tiny.py')
    with pytest.MonkeyPatch.context() as monkeypatch:
        train(monkeypatch, config, root / 'images', root / 'run')
    (root / 'images/cats/cut.png').write_bytes(b'\x89PNG\r\n\x1a\n cut')
    return root


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of four images for the command too."""
    monkeypatch.setattr(embed_folder, 'Job', partial(Job, part_size=4))


@pytest.fixture
def embed(root, tmp_path, monkeypatch, capsys):
    """Call the tool; returns what it prints."""

    def call(out, *args, checkpoint=root / 'run/epoch_1.pth'):
        run_tool(
            monkeypatch, 'embed', checkpoint, root / 'images', '--out', tmp_path / out,
            '--num-workers', 0, *args,
        )  # fmt: skip
        return capsys.readouterr().out

    return call


@torch.no_grad()
def expected(root, names):
    """The run's own model on each file; 16 pixels are cut of 18 by the transform."""
    from mae_plugin.datasets import LoadResizeCenterCrop

    model = model_of_checkpoint(root / 'run/epoch_1.pth')
    cut = LoadResizeCenterCrop(16)
    images = torch.stack(
        [cut(dict(img_path=str(root / 'images' / name)))['img'][0] for name in names]
    )
    tokens = model.backbone(model.data_preprocessor(dict(inputs=images))['inputs'])
    return tokens[:, 1:].mean(dim=1).numpy(), tokens[:, 0].numpy()


@pytest.mark.slow
def test_the_table_holds_what_the_model_gives(root, tmp_path, embed):
    told = embed('f.npz', '--pool', 'cls', 'avg', '--batch-size', 3)
    assert '10 images, cls, avg' in told and 'cut.png' in told
    with np.load(tmp_path / 'f.npz') as table:
        names = list(table['paths'])
        assert names == sorted(
            path.relative_to(root / 'images').as_posix()
            for path in (root / 'images').glob('*/image*.png')
        )
        mean, token = expected(root, names)
        np.testing.assert_allclose(table['features_avg'], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(table['features_cls'], token, rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['f.npz']

    embed('f.csv', '--pool', 'avg')
    with open(tmp_path / 'f.csv', newline='') as file:
        head, *rows = csv.reader(file)
    assert head == ['path', *(f'avg_{number}' for number in range(16))]
    assert [row[0] for row in rows] == names
    np.testing.assert_allclose(
        np.array([row[1:] for row in rows], float), mean, rtol=1e-4, atol=1e-5
    )

    embed('f.parquet', '--pool', 'cls-mean', 'cls')
    columns = parquet.read_table(tmp_path / 'f.parquet').to_pydict()
    assert columns['path'] == names
    for pool in ('cls', 'cls-mean'):  # there is but one class token
        np.testing.assert_allclose(columns[pool], token, rtol=1e-4, atol=1e-5)


def test_any_vit_file_will_do(root, tmp_path, embed):
    encoder = export_checkpoint(safe_load(root / 'run/epoch_1.pth'), to='official')
    write_export(tmp_path / 'official.pth', encoder, to='official')
    embed(
        'f.npz', '--num-heads', 2, '--config', root / 'tiny.py',
        checkpoint=tmp_path / 'official.pth',
    )  # fmt: skip
    with np.load(tmp_path / 'f.npz') as table:
        mean, _ = expected(root, table['paths'])
        np.testing.assert_allclose(table['features_avg'], mean, rtol=1e-4, atol=1e-5)


def job_of(root, tmp_path):
    paths = sorted(map(str, (root / 'images').glob('*/*.png')))
    return Job(
        str(root / 'run/epoch_1.pth'), paths, str(tmp_path / 'parts'), batch_size=2, part_size=4
    )


def test_an_interrupted_call_goes_on(root, tmp_path):
    job, seen = job_of(root, tmp_path), []

    def interrupt(images):
        seen.append(images)
        if sum(seen) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_parts(job, prepare(job), progress=interrupt)
    assert prepare(job) == [1, 2]  # the first four images are there
    seen.clear()
    embed_parts(job, prepare(job), progress=seen.append)
    assert sum(seen) == len(job.paths) - 4 == 7
    ids = np.concatenate([part.ids for part in read_parts(job)])
    (bad,) = [number for part in read_parts(job) for number in part.bad]
    assert job.paths[bad].endswith('cut.png') and sorted([*ids, bad]) == list(range(11))
    assert prepare(job) == []


def test_parts_of_changed_images_are_done_anew(root, tmp_path):
    folder = tmp_path / 'images'
    write_images(folder, 5, (16, 16))
    paths = sorted(map(str, folder.glob('*.png')))
    job = Job(str(root / 'run/epoch_1.pth'), paths, str(tmp_path / 'parts'), part_size=4)
    embed_parts(job, prepare(job))
    assert prepare(job) == []
    write_images(folder, 5, (18, 18), seed=1)
    assert prepare(job) == [0, 1]


def test_the_middle_stands_for_an_image_that_is_too_large(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (96, 64, 3), dtype=np.uint8)
    path = str(tmp_path / 'large.tif')
    tifffile.imwrite(path, pixels, photometric='rgb', tile=(16, 16))
    loading = dict(size=(16, 16), channels=3, max_bytes=4000)
    _, found = embedding._Images([path], loading)[0]
    middle = np.asarray(Image.fromarray(pixels[32:64, 16:48]).resize((16, 16), Image.BICUBIC))
    assert abs(found.permute(1, 2, 0).numpy().astype(int) - middle).max() <= 1
    whole = dict(loading, max_bytes=1 << 20)
    assert not torch.equal(embedding._Images([path], whole)[0][1], found)


@pytest.mark.slow
def test_processes_share_the_work(root, tmp_path, embed):
    embed('one.npz')
    embed('two.npz', '--processes', 2)
    with np.load(tmp_path / 'one.npz') as one, np.load(tmp_path / 'two.npz') as two:
        assert list(one['paths']) == list(two['paths'])
        np.testing.assert_allclose(one['features_avg'], two['features_avg'], rtol=1e-5, atol=1e-6)


def test_a_sheet_and_a_map(root, tmp_path, embed):
    embed('f.npz', '--neighbours', tmp_path / 'sheet.png', '--map', tmp_path / 'map.html')
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    assert sheet.shape[0] > 10 * 112 and sheet.shape[1] > 8 * 112
    page = (tmp_path / 'map.html').read_text()
    assert page.count('<img ') == 10
    assert 'cats</span>' in page and 'dogs</span>' in page
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')>\s]{1,30})', page)
    assert links and all(link.startswith('data:image/jpeg;base64,') for link in links)
    embed('f.npz', '--map', tmp_path / 'tsne.html', '--method', 'tsne')
    assert 't-SNE' in (tmp_path / 'tsne.html').read_text()


def test_the_map_is_scikit_learns_pca():
    features = np.random.default_rng(0).normal(1, 1, (40, 12)).astype(np.float32)
    found = project(features, 'pca')
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    places = PCA(2).fit_transform(unit)
    for axis in (0, 1):
        assert abs(np.corrcoef(found[:, axis], places[:, axis])[0, 1]) == pytest.approx(
            1, abs=1e-5
        )
    assert found.min() == 0 and found.max() == 1


@pytest.mark.parametrize(
    'out, args, words',
    [
        ('f.txt', (), 'ends in .npz, .csv, .parquet'),
        ('f.npz', ('--neighbours', 'sheet.jpg'), 'ends in .png'),
        ('f.npz', ('--size', '18'), 'no multiple of the patch size, 4'),
        ('f.npz', ('--processes', '0'), '--processes 0 is too small'),
    ],
)
def test_what_is_wrong_is_one_line(embed, capsys, out, args, words):
    with pytest.raises(SystemExit) as stop:
        embed(out, *args)
    assert stop.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize(
    'module, args',
    [('pyarrow', ('f.parquet',)), ('sklearn', ('f.npz', '--map', 'm.html', '--method', 'tsne'))],
)
def test_a_missing_library_is_told_before_the_work(embed, monkeypatch, capsys, module, args):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit) as stop:
        embed(*args)
    assert stop.value.code == 2 and 'mae_plugin[embed]' in capsys.readouterr().err


def test_no_usable_image_is_one_line(root, tmp_path, monkeypatch, capsys):
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad/a.png').write_bytes(b'\x89PNG\r\n\x1a\n cut')
    with pytest.raises(SystemExit) as stop:
        run_tool(
            monkeypatch, 'embed', root / 'run/epoch_1.pth', tmp_path / 'bad', '--out',
            tmp_path / 'f.npz', '--num-workers', 0,
        )  # fmt: skip
    assert stop.value.code == 2 and 'none of 1 images can be read' in capsys.readouterr().err
    assert not (tmp_path / 'f.npz').exists()
