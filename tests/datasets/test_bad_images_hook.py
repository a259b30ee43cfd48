"""Broken images in a real run with real workers: replaced, listed, told, or the end."""

import re

import pytest
import torch
from broken_images import write_broken_images
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from photos import write_photos

from mae_plugin.datasets.bad_images import TooManyBadImages


@MODELS.register_module(force=True)
class ToyMean(BaseModel):
    """Fits one number to the pixels: the data are what is tested."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.mean = torch.nn.Parameter(torch.zeros(()))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert inputs.shape == (8, 3, 32, 32) and len(data_samples) == 8
        return dict(loss=(inputs - self.mean).square().mean())


def run(tmp_path, max_share: float) -> str:
    """Train for two epochs; the run's log."""
    images = tmp_path / 'images'
    write_photos(images / 'good', 20)
    write_broken_images(images / 'broken')
    pipeline = [dict(type='LoadRandomResizedCrop', size=32), dict(type='PackInputs')]
    cfg = Config(
        dict(
            default_scope='mae_plugin',
            model=dict(
                type='ToyMean',
                data_preprocessor=dict(type='MAEDataPreprocessor'),
            ),
            train_dataloader=dict(
                batch_size=8,
                num_workers=2,
                sampler=dict(type='StreamSampler', batch_size=8),
                collate_fn=dict(type='mae_plugin.stack_collate'),
                dataset=dict(
                    type='ImageFolder',
                    data_root=str(images),
                    pipeline=pipeline,
                    index_cache=False,
                    bad_images=dict(max_share=max_share, min_count=4),
                ),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[dict(type='BadImagesHook', interval=2)],
            default_hooks=dict(sampler_seed=dict(type='DistSamplerSeedHook')),
            work_dir=str(tmp_path / 'work'),
            randomness=dict(seed=5),
            experiment_name='bad',
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.train_dataloader.dataset.seed == 5
    return next((tmp_path / 'work').glob('*/*.log')).read_text()


@pytest.mark.slow
def test_a_run_goes_on_and_lists_them(tmp_path):
    log = run(tmp_path, 0.9)
    lines = (tmp_path / 'work/bad_images.txt').read_text().splitlines()
    assert len(lines) == 12 and all('/images/broken/' in line for line in lines)
    told = re.findall(r'(\d+) of the last (\d+) tries .* lists (\d+) different files?, and', log)
    assert told and all(int(files) <= int(bad) < int(seen) for bad, seen, files in told)
    bad, _, files = told[-1]
    assert int(files) == 12 < int(bad)  # the second epoch meets them again
    assert str(tmp_path / 'work/bad_images.txt') in log and 'in this process' not in log


@pytest.mark.slow
def test_a_run_ends_above_the_share(tmp_path):
    with pytest.raises(TooManyBadImages, match=r'work/bad_images\.txt lists .*share 0\.1 '):
        run(tmp_path, 0.1)
