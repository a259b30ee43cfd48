"""`--accumulate N` is the recipe in N parts: held against ViTDet's own environment variable."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mae_plugin.engine.accumulation import accumulate
from mae_plugin.errors import UserError

CONFIGS = Path(__file__).parents[2] / 'configs'
UPERNET = CONFIGS / 'segmentation/upernet_vit-b_mae_160k_ade20k-512x512.py'


@pytest.mark.parametrize(
    'name', ['mask-rcnn_vitdet-b_mae_lsj-100e', 'mask-rcnn_vitdet-h_mae_lsj-75e']
)
def test_as_vitdet_s_configs_lengthen_themselves(monkeypatch, name):
    path = CONFIGS / f'detection/{name}_coco.py'
    cfg = Config.fromfile(path)
    accumulate(cfg, 4)
    monkeypatch.setenv('ACCUMULATE', '4')
    own = Config.fromfile(path)
    assert own.optim_wrapper.accumulative_counts == 4
    for key in ('optim_wrapper', 'train_cfg', 'param_scheduler', 'auto_scale_lr'):
        assert cfg[key] == own[key], key


def test_what_counts_iterations_counts_as_many_steps():
    cfg = Config.fromfile(UPERNET)
    accumulate(cfg, 8)
    assert cfg.train_cfg.max_iters == 8 * 160_000 and cfg.train_cfg.val_interval == 8 * 16_000
    assert [part.get('end') for part in cfg.param_scheduler] == [8 * 1500, None]
    assert cfg.param_scheduler[1].begin == 8 * 1500
    assert cfg.default_hooks.checkpoint.interval == 8 * 16_000
    assert cfg.default_hooks.logger.interval == 50


def test_what_counts_epochs_stays():
    path = CONFIGS / 'classification/finetune_vit-b_mae_100e_in1k.py'
    before, cfg = Config.fromfile(path), Config.fromfile(path)
    accumulate(cfg, 8)
    assert cfg.optim_wrapper.accumulative_counts == 8
    for key in ('train_cfg', 'param_scheduler', 'default_hooks'):
        assert cfg[key] == before[key]


def test_schedulers_of_several_optimizers_and_endless_ones():
    schedulers = dict(
        a=dict(type='MultiStepLR', by_epoch=False, milestones=[3, 5], end=int(1e9)),
        b=[
            dict(type='StepLR', by_epoch=True, step_size=2),
            dict(type='X', by_epoch=False, T_max=7),
        ],
    )
    cfg = Config(dict(optim_wrapper={}, train_cfg=dict(max_iters=9), param_scheduler=schedulers))
    accumulate(cfg, 2)
    assert cfg.param_scheduler.a == dict(
        type='MultiStepLR', by_epoch=False, milestones=[6, 10], end=int(1e9)
    )
    assert [part.get('step_size', part.get('T_max')) for part in cfg.param_scheduler.b] == [2, 14]


def test_a_config_that_accumulates_already():
    cfg = Config(dict(optim_wrapper=dict(accumulative_counts=4), train_cfg=dict(max_iters=9)))
    accumulate(cfg, 4)
    assert cfg.train_cfg.max_iters == 9
    with pytest.raises(UserError, match='--accumulate 2, but the config has'):
        accumulate(cfg, 2)
