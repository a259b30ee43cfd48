"""tools/score_images.py: each image's own loss, going on where it was, and what it refuses."""

import re
import shutil

import numpy as np
import pytest
import torch
from front_door import run_tool, tiny_config, train, write_images

from mae_plugin.datasets import ImageFolder, LoadResizeCenterCrop, PackInputs, stack_collate
from mae_plugin.datasets.image_scores import ImageScores
from mae_plugin.evaluation.stored_model import model_of_checkpoint


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A folder with a run and photos of several sizes, one of them broken."""
    root = tmp_path_factory.mktemp('run')
    write_images(root / 'images', 5, (40, 48))
    write_images(root / 'images' / 'more', 2, (20, 16))
    config = tiny_config(root / 'tiny.py')
    with pytest.MonkeyPatch.context() as monkeypatch:
        train(monkeypatch, config, root / 'images', root / 'run')
    (root / 'images' / 'image2.png').write_bytes(b'\x89PNG broken')
    return root


@pytest.fixture
def score(run, tmp_path, monkeypatch):
    """Call the tool; what it wrote."""

    def call(*images, checkpoint='run/epoch_1.pth', out=tmp_path / 'losses.npz'):
        monkeypatch.chdir(run)
        run_tool(
            monkeypatch, 'score_images', checkpoint, *(images or ('images',)), '--out', out,
            '--num-workers', 0, '--batch-size', 3,
        )  # fmt: skip
        return ImageScores.load(out)

    return call


def expected_losses(run):
    """Each image by itself, through ``MAE.predict``."""
    pipeline = [LoadResizeCenterCrop(16), PackInputs()]
    images = ImageFolder(str(run / 'images'), labels=False, pipeline=pipeline, index_cache=False)
    model = model_of_checkpoint(run / 'run/epoch_1.pth')
    losses = {}
    for index, name in enumerate(images.paths):
        data = model.data_preprocessor(stack_collate([images[index]]))
        loss = model.predict(data['inputs'], data['data_samples'])[0].reconstruction_loss
        losses[name] = 0.0 if name == 'image2.png' else loss.item()
    return losses


@pytest.mark.slow
def test_losses_are_those_of_each_image_alone(run, score, capsys):
    found = score()
    expected = expected_losses(run)
    assert list(found.names) == list(expected)
    np.testing.assert_allclose(found.scores, list(expected.values()), rtol=1e-4)
    assert 'losses of 7 images' in capsys.readouterr().out


def test_it_goes_on_where_it_was(run, score, tmp_path):
    whole = score()
    scores = whole.scores.copy()
    scores[0] = 9  # would be scored again by one that begins anew
    scores[3:] = np.nan
    out = tmp_path / 'part.npz'
    ImageScores(whole.names, scores, whole.facts).save(out)
    found = score(out=out).scores
    assert found[0] == 9
    np.testing.assert_allclose(found[1:], whole.scores[1:], rtol=1e-4)

    # New images come between the old ones.
    shutil.copytree(run / 'images', tmp_path / 'grown')
    write_images(tmp_path / 'grown' / 'a', 2, seed=5)
    grown = score(tmp_path / 'grown', out=out)
    assert len(grown.names) == 9 and np.isfinite(grown.scores).all()
    by_name = dict(zip(grown.names, grown.scores))
    assert all(by_name[name] == value for name, value in zip(whole.names, found))


def test_several_folders_and_shards(run, score, tmp_path, monkeypatch):
    alone = dict(zip(*score()[:2]))
    write_images(tmp_path / 'second', 2, seed=3)
    both = score('images', tmp_path / 'second', out=tmp_path / 'both.npz')
    assert [name[0] for name in both.names] == ['0'] * 7 + ['1'] * 2
    np.testing.assert_allclose(both.scores[:7], list(alone.values()), rtol=1e-4)

    run_tool(monkeypatch, 'make_shards', tmp_path / 'second', tmp_path / 'shards', '--no-labels')
    shards = score(tmp_path / 'shards', out=tmp_path / 'shards.npz')
    assert all(name.startswith('images-00000.tar/') for name in shards.names)
    assert np.isfinite(shards.scores).all()


@pytest.mark.slow
def test_training_takes_them(run, score, tmp_path, monkeypatch):
    score()
    options = dict(type='mae_plugin.CuratedSampler', scores=tmp_path / 'losses.npz', full=2.0)
    options = [f'train_dataloader.sampler.{key}={value}' for key, value in options.items()]
    train(monkeypatch, run / 'tiny.py', run / 'images', tmp_path / 'curated', options=options)
    kept = int(np.clip(list(expected_losses(run).values()), 0, 2).sum() / 2)
    state = torch.load(tmp_path / 'curated/epoch_1.pth', weights_only=True)
    assert 0 < kept < 6 and state['meta']['iter'] == kept // 2


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(checkpoint='run/epoch_2.pth'), "no checkpoint 'run/epoch_2.pth'"),
        (dict(checkpoint='other.pth'), r'losses of another model \(checkpoint differ\)'),
        (dict(out='tiny.py'), 'holds no scores of images'),
        (dict(images='nowhere'), "image folder 'nowhere/?' does not exist"),
    ],
)
def test_what_cannot_be_is_one_line(run, score, capsys, tmp_path, options, message):
    score()
    state = torch.load(run / 'run/epoch_1.pth', weights_only=True)
    state['state_dict']['head.pred.bias'] += 1
    torch.save(state, run / 'other.pth')
    images = [options.pop('images')] if 'images' in options else []
    with pytest.raises(SystemExit) as stop:
        score(*images, **options)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
