"""The two commands of an interrupted run give what one uninterrupted command gives, to the bit."""

import json

import pytest
import torch
from front_door import tiny_config, train, write_images
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

EXTRA = """
model['backbone'].update(drop_path_rate=0.3, arch=dict(model['backbone']['arch'], num_layers=2))
train_dataloader.update(num_workers=2, persistent_workers=True)
default_hooks['checkpoint'] = dict(interval=1, by_epoch=False, max_keep_ckpts=-1)
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(lr=1.0))
"""


class StopError(Exception):
    """Stands for whatever ends a process."""


@HOOKS.register_module(force=True)
class StopAfter(Hook):
    """Ends the run after an iteration, its checkpoint written."""

    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            raise StopError


def log_lines(work_dir):
    lines = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda p: p.stat().st_mtime):
        for line in path.read_text().splitlines():
            values = json.loads(line)
            if 'loss' in values:  # the monitor has lines of its own
                lines[values['step']] = [values['loss'], values['lr']]
    return lines


@pytest.mark.slow
def test_stopped_inside_an_epoch_and_resumed(tmp_path, monkeypatch):
    images = write_images(tmp_path / 'images', 7)
    config = tiny_config(tmp_path / 'tiny.py', extra=EXTRA)
    train(monkeypatch, config, images, tmp_path / 'whole')

    stopping = EXTRA + "custom_hooks = [*_base_.custom_hooks, dict(type='StopAfter', iteration=4)]"
    with pytest.raises(StopError):
        train(
            monkeypatch,
            tiny_config(tmp_path / 'stopping.py', extra=stopping),
            images,
            tmp_path / 'parts',
        )
    assert not (tmp_path / 'parts' / 'iter_5.pth').exists()
    torch.manual_seed(99)
    train(monkeypatch, config, images, tmp_path / 'parts', '--resume')

    whole, parts = (
        torch.load(tmp_path / run / 'iter_6.pth', weights_only=True) for run in ('whole', 'parts')
    )
    assert whole['meta']['iter'] == parts['meta']['iter'] == 6
    for name, value in whole['state_dict'].items():
        assert torch.equal(value, parts['state_dict'][name]), name
    lines = log_lines(tmp_path / 'whole')
    assert len(lines) == 6 and len({loss for loss, _ in lines.values()}) == 6
    assert lines == log_lines(tmp_path / 'parts')
