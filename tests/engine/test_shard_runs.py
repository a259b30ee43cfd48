"""Runs from tar shards: pointed at as folders are, and resumed inside an epoch."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from processes import REPO
from tiny_run import build_runner, log_lines, mae_config

from mae_plugin.cli.data_root import set_data_root
from mae_plugin.engine.resume import find_resumable
from mae_plugin.registry import DATASETS

sys.path.insert(0, str(Path(__file__).parents[1] / 'datasets'))
from tars import make_shards

NAME = 'mae_vit-base-p16_8xb512-shards-amp-coslr-800e_in1k'
CONFIG = f'{REPO}/configs/pretrain/scale_out/{NAME}.py'


@pytest.fixture(scope='module')
def packed(tmp_path_factory, photos):
    """``train`` and ``val``, each of 21 photos in shards of 6."""
    folder = tmp_path_factory.mktemp('shards')
    for part in ('train', 'val'):
        make_shards(photos, folder / part, '--no-labels', '--per-shard', 6)
    return folder


def test_data_root_leads_to_the_shards(packed, capsys):
    cfg = Config.fromfile(CONFIG)
    cfg.train_dataloader.dataset.index = 'pipe:of other shards'
    set_data_root(cfg, str(packed))
    for name, part in (('train_dataloader', 'train'), ('test_dataloader', 'val')):
        dataset = DATASETS.build(cfg[name].dataset)
        assert len(dataset) == 21 and dataset.path(0).startswith(f'{packed}/{part}/')
        assert dataset[0]['inputs'].shape == (3, 224, 224)
    assert capsys.readouterr().err == ''

    set_data_root(cfg, str(packed / 'train'))
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 21
    assert cfg.test_dataloader.dataset.shards == str(packed / 'train')
    assert 'not held out' in capsys.readouterr().err


class StopError(Exception):
    """Stands for a crash."""


class StopHook(Hook):
    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 7:
            raise StopError


@pytest.mark.slow
def test_a_run_from_fetched_shards_resumes_inside_an_epoch(tmp_path, packed, monkeypatch):
    monkeypatch.chdir(packed)  # mmengine's log of the config takes seconds over long paths

    def config(name):
        made = mae_config(tmp_path / name, '', batch_size=8, epochs=2)
        dataset = made['train_dataloader']['dataset']
        made['train_dataloader'].update(
            num_workers=2,
            persistent_workers=True,
            dataset=dict(
                type='ImageShards',
                shards='pipe:cat train/images-{00000..00003}.tar',
                index='train/index.npz',
                cache_dir='cache',
                max_cached=2,
                window=2,
                labels=False,
                pipeline=dataset['pipeline'],
            ),
        )
        made['default_hooks']['checkpoint'].update(by_epoch=False, interval=7)
        return made

    whole = build_runner(config('whole'), 'shards-whole')
    whole.train()
    first = build_runner(config('parts'), 'shards-first')
    first.register_hook(StopHook())
    with pytest.raises(StopError):
        first.train()
    found = find_resumable(tmp_path / 'parts')
    assert found.endswith('iter_7.pth')  # of 5 an epoch
    again = build_runner(dict(config('parts'), resume=True, load_from=found), 'shards-again')
    again.train()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert log_lines(tmp_path / 'whole') == log_lines(tmp_path / 'parts')
