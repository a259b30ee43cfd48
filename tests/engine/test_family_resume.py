"""Runs that read a teacher, or losses of images, go on as if they had never stopped."""

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from tiny_run import WIDTH, build_runner, log_lines, mae_config

from mae_plugin.datasets import ImageFolder
from mae_plugin.datasets.image_scores import ImageScores, image_names
from mae_plugin.engine.resume import find_resumable
from mae_plugin.models import ViT


class StopError(Exception):
    """Stands for a crash."""


class StopHook(Hook):
    """Stops inside an epoch."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 3:
            raise StopError


def teaching(folder, photos):
    """The target of a run: features of an encoder in a file."""
    shape = dict(img_size=32, patch_size=8)
    arch = dict(embed_dims=WIDTH, num_layers=1, num_heads=2)
    torch.manual_seed(3)
    source = ViT(arch, **shape)
    source.init_weights()
    torch.save(source.state_dict(), folder / 'teacher.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(folder / 'teacher.pth'))
    teacher = dict(type='ViT', arch=arch, init_cfg=init_cfg, **shape)

    def change(config):
        config['model']['head']['target'] = dict(type='TeacherTarget', teacher=teacher)

    return change


def curated(folder, photos):
    """The sampler of a run: images in proportion to their losses."""
    names = image_names(ImageFolder(str(photos), labels=False, index_cache=False))
    losses = np.random.default_rng(0).random(len(names)).astype(np.float32)
    ImageScores(names, losses, {}).save(folder / 'losses.npz')

    def change(config):
        loader = config['train_dataloader']
        loader['sampler'].update(type='CuratedSampler', scores=str(folder / 'losses.npz'))
        loader.update(batch_size=3)
        loader['sampler']['batch_size'] = 3

    return change


@pytest.mark.slow
@pytest.mark.parametrize('part', [teaching, curated])
def test_stopped_and_resumed_equals_uninterrupted(part, tmp_path, photos):
    change = part(tmp_path, photos)

    def config(name, **changes):
        made = mae_config(tmp_path / name, photos, batch_size=8, epochs=1, **changes)
        made['default_hooks']['checkpoint'] = dict(
            type='CheckpointHook', interval=3, by_epoch=False
        )
        change(made)
        return made

    name = part.__name__
    build_runner(config('whole'), f'{name}-whole').train()
    first = build_runner(config('parts'), f'{name}-first')
    first.register_hook(StopHook())
    with pytest.raises(StopError):
        first.train()
    torch.manual_seed(12345)
    again = config('parts', resume=True, load_from=find_resumable(tmp_path / 'parts'))
    resumed = build_runner(again, f'{name}-second')
    resumed.train()
    assert resumed.iter > 4

    assert log_lines(tmp_path / 'parts') == log_lines(tmp_path / 'whole')
    final = [
        torch.load(find_resumable(tmp_path / run), weights_only=True)['state_dict']
        for run in ('whole', 'parts')
    ]
    assert final[0].keys() == final[1].keys()
    assert not any('teacher' in key for key in final[0])
    assert all(torch.equal(final[0][key], final[1][key]) for key in final[0])
