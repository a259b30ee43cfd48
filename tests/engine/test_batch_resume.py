"""The batch that a run began with is stored in its checkpoints, and other ones are refused."""

import pytest
import torch
from mmengine.config import Config
from tiny_run import tiny_config

from mae_plugin.engine.batch_choice import BatchRequest, choose_batch
from mae_plugin.engine.resume import StoredBatch, read_batch
from mae_plugin.engine.runner import build_runner
from mae_plugin.errors import UserError


def by_iterations(work_dir, name, batch_size=4, max_iters=3, **changes):
    config = tiny_config(
        work_dir,
        batch_size=batch_size,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
        train_dataloader__sampler=dict(type='InfiniteSampler', shuffle=True),
        param_scheduler=None,
        experiment_name=name,
        **changes,
    )
    return Config(config)


@pytest.fixture
def begun(tmp_path):
    """The last checkpoint of a run of three iterations of four images, two to a step."""
    config = by_iterations(tmp_path, f'{tmp_path.name}-first')
    config.auto_scale_lr = dict(enable=False, base_batch_size=16)
    build_runner(config, batch=BatchRequest(accumulate=2)).train()
    return tmp_path / 'iter_6.pth'


def test_what_a_checkpoint_tells(begun):
    assert read_batch(begun) == StoredBatch(images=4, counts=2, scaled=True)


def test_a_checkpoint_from_before_tells_its_config_s(begun):
    content = torch.load(begun, weights_only=True)
    del content['message_hub']['runtime_info']['global_batch']
    torch.save(content, begun)
    assert read_batch(begun) == StoredBatch(images=4, counts=2, scaled=True)
    content['meta']['cfg'] = 'x = open("secret")'  # code, which is not run
    torch.save(content, begun)
    assert read_batch(begun) == StoredBatch(None, None, None)


def test_by_iterations_another_batch_is_refused(begun, tmp_path):
    config = by_iterations(tmp_path, f'{tmp_path.name}-other', batch_size=3, max_iters=5)
    with pytest.raises(UserError, match='began with 4 images to an iteration, this one has 3'):
        build_runner(config, resume='auto', batch=BatchRequest(size=3)).train()


def test_by_iterations_the_batch_is_kept(begun, tmp_path):
    config = by_iterations(tmp_path, f'{tmp_path.name}-same', batch_size=500, max_iters=5)
    runner = build_runner(config, resume='auto', batch=BatchRequest(size='auto'))
    assert runner.train_dataloader.batch_size == 4
    assert runner.cfg.optim_wrapper.accumulative_counts == 2
    assert runner.train_loop.max_iters == 10  # five steps
    runner.train()
    assert torch.load(tmp_path / 'iter_10.pth', weights_only=True)['meta']['iter'] == 10


def test_on_other_processes_the_images_of_an_iteration_stay(monkeypatch, tmp_path):
    request = BatchRequest(size='auto')
    began = StoredBatch(images=12, counts=1, scaled=None)
    monkeypatch.setattr('mae_plugin.engine.batch_choice.get_world_size', lambda: 3)
    config = by_iterations(tmp_path, 'three', batch_size=500)
    choose_batch(config, request, began)
    assert config.train_dataloader.batch_size == 4
    monkeypatch.setattr('mae_plugin.engine.batch_choice.get_world_size', lambda: 5)
    with pytest.raises(UserError, match='12 images to an iteration, which 5 processes'):
        choose_batch(config, request, began)
