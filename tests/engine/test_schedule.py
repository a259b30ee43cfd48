"""A run goes on with the schedule that it began with, or not at all."""

import copy

import pytest
from mmengine.config import Config
from tiny_run import tiny_config

from mae_plugin.engine.runner import build_runner

COSINE = dict(type='CosineAnnealingLR', by_epoch=True)
SCHEDULES = {
    'by iteration': [dict(COSINE, convert_to_iter_based=True)],
    'by epoch': [COSINE],
    'after a warm-up': [
        dict(type='LinearLR', start_factor=1e-3, end=1, convert_to_iter_based=True),
        dict(COSINE, begin=1, convert_to_iter_based=True),
    ],
}
ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=6)


def run(tmp_path, name, schedule, epochs=2, resume=None, **changes):
    """A run of 5 iterations an epoch; its runner."""
    config = tiny_config(tmp_path, epochs, param_scheduler=copy.deepcopy(schedule), **changes)
    runner = build_runner(Config(dict(config, experiment_name=name)), resume=resume)
    runner.train()
    return runner


@pytest.mark.parametrize('kind', SCHEDULES)
@pytest.mark.parametrize('point', ['iter_7', 'iter_10'], ids=['inside', 'finished'])
def test_another_length_is_refused(tmp_path, kind, point):
    name = f'{kind}-{point}'
    run(tmp_path, name, SCHEDULES[kind])
    checkpoint = str(tmp_path / f'{point}.pth')
    ends = 'epoch 3 .*epoch 2 ' if kind == 'by epoch' else r'15 \(epoch 3\) .*10 \(epoch 2\) '
    with pytest.raises(ValueError, match=rf'CosineAnnealingLR .*ends.* {ends}.*--pretrained'):
        run(tmp_path, name + '-longer', SCHEDULES[kind], epochs=3, resume=checkpoint)
    runner = run(tmp_path, name + '-same', SCHEDULES[kind], resume=checkpoint)
    assert runner.iter == 10


def test_a_longer_warm_up_is_refused(tmp_path):
    schedule = copy.deepcopy(SCHEDULES['after a warm-up'])
    run(tmp_path, 'short-warm-up', schedule, epochs=3)
    schedule[0]['end'] = schedule[1]['begin'] = 2
    with pytest.raises(ValueError, match=r'LinearLR .*ends at iteration 10 .*at iteration 5 '):
        run(tmp_path, 'long', schedule, epochs=3, resume=str(tmp_path / 'iter_7.pth'))


def test_a_schedule_of_iterations(tmp_path):
    schedule = [dict(COSINE, by_epoch=False)]
    loop = dict(train_cfg=ITERATIONS)
    loop['train_dataloader__sampler'] = dict(type='InfiniteSampler')
    run(tmp_path, 'iterations', schedule, **loop)
    checkpoint = str(tmp_path / 'iter_4.pth')
    assert run(tmp_path, 'again', schedule, resume=checkpoint, **loop).iter == 6
    loop['train_cfg'] = dict(ITERATIONS, max_iters=8)
    with pytest.raises(ValueError, match=r'iteration 8 .*iteration 6 '):
        run(tmp_path, 'longer', schedule, resume=checkpoint, **loop)


def test_no_schedule_may_be_as_long_as_it_likes(tmp_path):
    run(tmp_path, 'constant', None)
    assert run(tmp_path, 'on', None, epochs=3, resume=str(tmp_path / 'iter_10.pth')).iter == 15


def test_other_data_is_told_as_such(tmp_path):
    """The schedule ends elsewhere because of it."""
    run(tmp_path, 'few', SCHEDULES['by iteration'])
    with pytest.raises(ValueError, match=r'the checkpoint was made with .*epoch_length'):
        run(
            tmp_path, 'more', SCHEDULES['by iteration'], resume=str(tmp_path / 'iter_7.pth'),
            train_dataloader__dataset=dict(type='TinyImages', length=40),
        )  # fmt: skip
