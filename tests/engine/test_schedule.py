"""A run's schedule reaches its learning rate and its end; resumed, it is the one it began with."""

import copy
import json
import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from tiny_run import mae_config, tiny_config

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.cli.run_config import override
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


@pytest.mark.slow
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
    # When both are over, it is past.
    schedule[1]['begin'] = 1
    run(tmp_path, 'over', schedule, epochs=3, resume=str(tmp_path / 'iter_11.pth'))


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


def warm(**changes):
    first = dict(type='LinearLR', start_factor=1e-6, end=1, convert_to_iter_based=True)
    return [dict(first, **changes), dict(COSINE, begin=1, convert_to_iter_based=True)]


def advised(error, config):
    """A config with the --cfg-options that an error advises."""
    config = Config(copy.deepcopy(config))
    for option in str(error.value).partition('--cfg-options ')[2].split():
        override(config, option)
    return config


class Rates(Hook):
    """Notes the learning rate of each step."""

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])


def rates(config, name):
    runner = build_runner(Config(dict(config, experiment_name=name)))
    hook = Rates()
    runner.register_hook(hook, priority='LOWEST')
    runner.train()
    return hook.rates


@pytest.mark.slow
@pytest.mark.parametrize('epochs, warm_up', [(1, 1), (1, 40), (2, 40), (40, 40)])
def test_advice_about_a_warm_up_that_outlasts_training_works(tmp_path, epochs, warm_up):
    schedule = warm(end=warm_up)
    schedule[1]['begin'] = warm_up
    config = tiny_config(tmp_path, epochs, param_scheduler=schedule)
    with pytest.raises(ValueError, match=rf'max_epochs={epochs}, but .*after epoch') as error:
        build_runner(Config(config))
    found = rates(advised(error, config), f'{epochs}-{warm_up}')
    assert len(found) == 5 * epochs and max(found) == pytest.approx(1e-2)
    assert found[-1] < 2e-3 or epochs == 1


def test_advice_about_a_warm_up_of_one_iteration_works(tmp_path):
    config = tiny_config(tmp_path, 4, batch_size=12, param_scheduler=warm())
    with pytest.raises(ValueError, match=r'param_scheduler.0.*one iteration.*batch_size') as error:
        rates(config, 'stuck')
    found = rates(advised(error, config), 'free')
    assert found[0] == found[1] == pytest.approx(1e-2) and found[-1] < found[2] < 1e-2
    assert max(rates(dict(config, **tiny_batch(4)), 'small')) == pytest.approx(1e-2)


def tiny_batch(size):
    return dict(train_dataloader=tiny_config('', batch_size=size)['train_dataloader'])


def test_a_warm_up_of_one_epoch_by_epoch_is_refused_too(tmp_path):
    schedule = warm(convert_to_iter_based=False)
    with pytest.raises(ValueError, match=r'lasts one epoch, and an epoch 5 iterations'):
        rates(tiny_config(tmp_path, 2, param_scheduler=schedule), 'epochs')


@pytest.mark.parametrize('size, warned', [(21, False), (22, True)])
def test_a_batch_of_more_images_than_there_are_is_told(tmp_path, size, warned):
    runner = build_runner(
        Config(tiny_config(tmp_path, 1, batch_size=size, experiment_name=f'batch-{size}'))
    )
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    runner.logger.addHandler(handler)
    runner.train()
    told = [record.getMessage() for record in records if 'more than once' in record.getMessage()]
    assert len(told) == warned
    assert not warned or 'takes 22 images a step, and the data set holds 21' in told[0]


def logged(work_dir):
    """(base_lr, lr) by iteration, of the log that the report and TensorBoard get too."""
    lines = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            values = json.loads(line)
            lines[values['step'] - 1] = values.get('base_lr', values['lr']), values['lr']
    return lines


class Groups(Hook):
    """Notes the learning rates of all groups in each step."""

    def __init__(self):
        self.rates = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.rates[runner.iter] = [group['lr'] for group in groups]


def scaled(tmp_path, photos):
    """Layer decay, a warm-up, and a batch far below the one that the rate is written for."""
    config = mae_config(tmp_path, photos, batch_size=8, epochs=2, param_scheduler=warm())
    config['auto_scale_lr'] = dict(enable=True, base_batch_size=4096)
    return config


def test_the_learning_rates_that_are_shown_are_used(tmp_path, photos):
    config = Config(dict(scaled(tmp_path, photos), experiment_name='shown'))
    hook = Groups()
    runner = build_runner(config)
    runner.register_hook(hook, priority='LOWEST')
    runner.train()
    assert len({round(rate, 12) for rate in hook.rates[4]}) == 4  # depths 0 to 3
    shown = logged(tmp_path)
    assert shown == {step: (max(rates), rates[0]) for step, rates in hook.rates.items()}
    assert max(rate for rate, _ in shown.values()) == pytest.approx(1e-3 * 8 / 4096)


def test_a_checkpoint_with_mmengines_unscaled_rate_shows_the_used_one(tmp_path, photos):
    """As those of the versions before."""
    config = scaled(tmp_path, photos)
    build_runner(Config(dict(config, experiment_name='scaled'))).train()
    path = tmp_path / 'epoch_1.pth'
    checkpoint = safe_load(path)
    factor = 4096 / 8
    for key in ('lr', 'initial_lr'):
        checkpoint['optimizer']['base_param_settings'][key] *= factor
    for scheduler in checkpoint['param_schedulers']:
        scheduler['base_values'][-1] *= factor
    torch.save(checkpoint, path)
    hook = Groups()
    runner = build_runner(Config(dict(config, experiment_name='older')), resume=str(path))
    runner.register_hook(hook, priority='LOWEST')
    runner.train()
    shown = logged(tmp_path)
    assert set(hook.rates) == set(range(5, 10))
    assert all(shown[step] == (max(rates), rates[0]) for step, rates in hook.rates.items())
