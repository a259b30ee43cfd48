"""A run with a teacher: the checkpoint is without it, and a resumed run has the same one."""

import pytest
import torch
from mmengine.hooks import Hook
from tiny_run import WIDTH, build_runner, log_lines, mae_config

from mae_plugin.engine.resume import find_resumable
from mae_plugin.models import ViT


class StopError(Exception):
    """Stands for a crash."""


class StopHook(Hook):
    """Stops after the first epoch's checkpoint."""

    priority = 'LOWEST'

    def after_train_epoch(self, runner):
        raise StopError


def test_stopped_and_resumed_equals_uninterrupted(tmp_path, photos):
    shape = dict(img_size=32, patch_size=8)
    arch = dict(embed_dims=WIDTH, num_layers=1, num_heads=2)
    torch.manual_seed(3)
    source = ViT(arch, **shape)
    source.init_weights()
    torch.save(source.state_dict(), tmp_path / 'teacher.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'teacher.pth'))
    teacher = dict(type='ViT', arch=arch, init_cfg=init_cfg, **shape)

    def config(name, **changes):
        made = mae_config(tmp_path / name, photos, batch_size=8, epochs=2, **changes)
        made['model']['head']['target'] = dict(type='TeacherTarget', teacher=teacher)
        return made

    build_runner(config('whole'), 'teacher-whole').train()
    first = build_runner(config('parts'), 'teacher-first')
    first.register_hook(StopHook())
    with pytest.raises(StopError):
        first.train()
    torch.manual_seed(12345)
    again = config('parts', resume=True, load_from=find_resumable(tmp_path / 'parts'))
    build_runner(again, 'teacher-second').train()

    assert log_lines(tmp_path / 'parts') == log_lines(tmp_path / 'whole')
    final = [
        torch.load(find_resumable(tmp_path / name), weights_only=True)['state_dict']
        for name in ('whole', 'parts')
    ]
    assert final[0].keys() == final[1].keys()
    assert not any('teacher' in name for name in final[0])
    assert all(torch.equal(final[0][name], final[1][name]) for name in final[0])
