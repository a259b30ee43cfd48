"""Probes during a run: they are logged, and change nothing."""

import json
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from processes import run
from tiny_run import mae_config

from mae_plugin import compat
from mae_plugin.datasets import LoadResizeCenterCrop
from mae_plugin.datasets.randomness import sample_key
from mae_plugin.engine.hooks import MonitorHook, monitor
from mae_plugin.engine.runner import build_runner

SIZES = dict(img_size=16, patch_size=8)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('classes')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name, colour in (('green', (0, 200, 0)), ('red', (0, 0, 200))):
            (root / split / name).mkdir(parents=True)
            for index in range(6):
                pixels = (rng.integers(0, 55, (16, 16, 3)) + colour).astype(np.uint8)
                cv2.imwrite(str(root / split / name / f'{index}.png'), pixels)
    return root


def train(folder, work_dir, epochs=4, more_hooks=(), **monitor):
    arch = dict(embed_dims=8, num_layers=1, num_heads=2)
    hooks = [dict(type='MonitorHook', **monitor)] if monitor else []
    cfg = dict(
        default_scope='mae_plugin',
        work_dir=str(work_dir),
        experiment_name=f'monitor-{time.time_ns()}',
        launcher='none',
        model=dict(
            type='MAE',
            data_preprocessor=dict(type='MAEDataPreprocessor'),
            backbone=dict(type='ViT', arch=arch, **SIZES),
            decoder=dict(
                type='MAEDecoder', in_dims=8, embed_dims=8, depth=1, num_heads=1, **SIZES
            ),
            head=dict(
                type='ReconstructionHead', in_dims=8, target=dict(type='PixelTarget', patch_size=8)
            ),
        ),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='StreamSampler', batch_size=4),
            collate_fn=dict(type='mae_plugin.stack_collate'),
            dataset=dict(
                type='ImageFolder',
                data_root=str(folder),
                data_prefix='train',
                labels=False,
                index_cache=False,
                pipeline=[dict(type='LoadRandomResizedCrop', size=16), dict(type='PackInputs')],
            ),
        ),
        train_cfg=dict(type='ResumableEpochLoop', max_epochs=epochs),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1), checkpoint=None),
        custom_hooks=hooks,
        randomness=dict(seed=3),
        log_level='WARNING',
    )
    runner = build_runner(Config(cfg))
    for hook in more_hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def logged(work_dir):
    """(step, kNN, linear probe) of each evaluation."""
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line['step'], line['probe/knn'], line['probe/linear']) for line in lines
            if 'probe/knn' in line]  # fmt: skip


def test_scores_are_logged_and_the_run_is_the_same(folder, tmp_path):
    probes = dict(train=str(folder / 'train'), val=str(folder / 'val'), k=3)
    watched = train(folder, tmp_path / 'a', interval=2, **probes)
    plain = train(folder, tmp_path / 'b')
    assert logged(tmp_path / 'a') == [(6, 100.0, 100.0), (12, 100.0, 100.0)]
    for mine, other in zip(watched.model.parameters(), plain.model.parameters()):
        assert torch.equal(mine, other)
    page = (tmp_path / 'a' / 'report.html').read_text()
    assert 'linear probe' in page and 'Frozen features' in page
    assert not (tmp_path / 'b' / 'report.html').exists()


def test_old_configs_with_a_share_of_time_still_work(folder, tmp_path):
    probes = dict(train=str(folder / 'train'), val=str(folder / 'val'), k=3)
    train(folder, tmp_path, epochs=2, interval=1, max_share=0.04, **probes)
    assert [step for step, *_ in logged(tmp_path)] == [3, 6]


def test_without_labelled_folders_there_is_only_the_report(folder, tmp_path):
    train(folder, tmp_path, interval=1)
    assert logged(tmp_path) == []
    assert (tmp_path / 'report.html').is_file()


@pytest.mark.parametrize(
    'wrong, message',
    [(dict(train='x'), 'go together'), (dict(interval=0), 'interval=0')],
)
def test_nonsense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        MonitorHook(**wrong)


def test_an_evaluation_that_fails_ends_no_run(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, 'probe_accuracies', lambda *args: 1 / 0)
    probes = dict(train=str(folder / 'train'), val=str(folder / 'val'))
    runner = train(folder, tmp_path, interval=1, **probes)
    assert runner.epoch == 4 and logged(tmp_path) == []


NEEDS_2_4 = pytest.mark.skipif(
    compat.TORCH < (2, 4), reason='before torch 2.4 FSDPStrategy says that it needs it'
)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ddp', pytest.param('fsdp', marks=NEEDS_2_4)])
def test_processes_score_what_one_does(folder, tmp_path, name):
    """Sharded, all of them take part; averaged, rank 0 does."""
    monitor = dict(
        type='MonitorHook', interval=2,
        train=str(folder / 'train'), val=str(folder / 'val'),
    )  # fmt: skip
    config = mae_config(tmp_path, folder / 'train', batch_size=4, epochs=3)
    config['custom_hooks'].append(monitor)
    if name == 'fsdp':
        config.update(runner_type='FlexibleRunner', strategy=dict(type='mae_plugin.FSDPStrategy'))
    run(config, world=2)
    steps, *scores = zip(*logged(tmp_path))
    assert steps == (6, 9) and all(90 < score <= 100 for pair in scores for score in pair)
    assert (tmp_path / 'report.html').is_file()


def scalars(work_dir):
    """(step, value) by name."""
    found = {}
    for path in work_dir.glob('*/vis_data/scalars.json'):
        for line in map(json.loads, path.read_text().splitlines()):
            for name, value in line.items():
                found.setdefault(name, []).append((line['step'], value))
    return found


def test_rank_neighbours_and_the_loss_on_held_out_images(folder, tmp_path):
    """Without labels, and the run is the same as without the hook."""
    watched = train(folder, tmp_path / 'a', interval=2, images=str(folder / 'val'))
    plain = train(folder, tmp_path / 'b')
    for mine, other in zip(watched.model.parameters(), plain.model.parameters()):
        assert torch.equal(mine, other)
    found = scalars(tmp_path / 'a')
    assert [step for step, _ in found['probe/rank']] == [6, 12]
    assert all(1 <= value <= 8.01 for _, value in found['probe/rank'])
    assert 'probe/knn' not in found

    # The reference: each image of the folder by the model as it is now, its mask by its key.
    model = watched.model.eval()
    keys = [sample_key(0, 0, index) for index in range(12)]
    paths = sorted((folder / 'val').glob('*/*.png'))
    images = torch.stack(
        [torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1)
         for path in paths]
    )  # fmt: skip
    with torch.no_grad():
        inputs = model.data_preprocessor(dict(inputs=shrunk(images)))['inputs']
        samples = [SimpleNamespace(sample_key=key) for key in keys]
        losses = model.reconstruct(inputs, samples).loss
    assert found['held_out/loss'][-1][1] == pytest.approx(losses.mean().item(), rel=1e-5)
    (sheet,) = (tmp_path / 'a').glob('*/vis_data/vis_image/neighbours_12.png')
    assert cv2.imread(str(sheet)).shape[0] > 8 * 112
    page = (tmp_path / 'a/report.html').read_text()
    for words in ('Is it still learning', 'Effective rank', 'held_out/loss', 'Nearest neighbours'):
        assert words in page, words


def shrunk(images):
    """As the monitor cuts 16 of 18 pixels after a resize."""
    cut = LoadResizeCenterCrop(16)
    results = []
    for image in images:
        data = cv2.imencode('.png', image.permute(1, 2, 0).numpy()[..., ::-1])[1].tobytes()
        results.append(cut(dict(img_bytes=data, img_path='x.png'))['img'][0])
    return torch.stack(results)


def test_crops_of_the_training_images_do_where_none_are_held_out(folder, tmp_path):
    train(folder, tmp_path, epochs=2, interval=1, max_images=5)
    found = scalars(tmp_path)
    assert [step for step, _ in found['probe/rank']] == [3, 6] and 'held_out/loss' not in found
    assert all(value <= 5.01 for _, value in found['probe/rank'])
    train(folder, tmp_path / 'none', epochs=1, max_images=0, interval=1)
    assert 'probe/rank' not in scalars(tmp_path / 'none')
