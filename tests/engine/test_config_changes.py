"""A changed config at --resume: what takes effect, what is refused, and what is told."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from tiny_run import TinyImages, TinyModel, mae_config, tiny_collate, tiny_config

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.datasets.sampler import StreamSampler
from mae_plugin.engine.config_changes import find_changes
from mae_plugin.engine.runner import build_runner

COSINE = dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)
WARM_UP = dict(type='LinearLR', start_factor=1e-3, end=1, convert_to_iter_based=True)
STEPS = dict(type='MultiStepLR', by_epoch=False, milestones=[3, 7], gamma=0.5)


class Rates(Hook):
    """Notes the highest learning rate of each iteration."""

    def __init__(self):
        self.rates = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.rates[runner.iter] = max(group['lr'] for group in groups)


def run(config, name, resume=None):
    """Train; the runner, and the learning rate of each iteration."""
    runner = build_runner(Config(dict(copy.deepcopy(config), experiment_name=name)), resume=resume)
    hook = Rates()
    runner.register_hook(hook, priority='LOWEST')
    runner.train()
    return runner, hook.rates


def told(config, words='config has changed'):
    """The lines of the newest log with these words."""
    logs = Path(config['work_dir']).glob('*/*.log')
    text = max(logs, key=lambda path: path.stat().st_mtime).read_text()
    return [line for line in text.splitlines() if words in line]


def by_hand(before, after, switch=5, iterations=10):
    """AdamW on the stream's batches, with other settings from iteration ``switch`` on."""
    model = TinyModel(dropout=0.0)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), **before)
    dataset = TinyImages()
    sampler = StreamSampler(dataset, batch_size=4, seed=5)
    keys = [key for _ in range(2) for key in sampler]
    for iteration in range(iterations):
        if iteration == switch:
            optimizer.param_groups[0].update(after)
        batch = tiny_collate([dataset[key] for key in keys[4 * iteration : 4 * iteration + 4]])
        model(batch['inputs'], mode='loss')['loss'].backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def test_settings_of_the_optimizer_take_effect(tmp_path):
    before = dict(lr=1e-2, weight_decay=0.05, betas=(0.9, 0.99))
    after = dict(lr=3e-3, weight_decay=0.3, betas=(0.8, 0.95))
    config = tiny_config(tmp_path, param_scheduler=None, log_level='INFO')
    config['model']['dropout'] = 0.0
    config['optim_wrapper']['optimizer'] = dict(type='AdamW', **before)
    run(config, 'settings')
    config['optim_wrapper']['optimizer'].update(after)
    runner, _ = run(config, 'settings-changed', str(tmp_path / 'iter_5.pth'))
    for name, value in by_hand(before, after).items():
        assert torch.equal(runner.model.state_dict()[name], value), name
    (line,) = told(config)
    assert 'optim_wrapper.optimizer.lr: 0.01 -> 0.003' in line
    assert 'optimizer.weight_decay: 0.05 -> 0.3' in line and 'betas' in line
    assert 'Without effect' not in line


@pytest.mark.slow
@pytest.mark.parametrize('schedule', [[WARM_UP, dict(COSINE, begin=1)], [STEPS]])
def test_another_rate_goes_on_at_its_point_of_the_schedule(tmp_path, schedule):
    """As in a run that had it from the beginning."""
    config = tiny_config(tmp_path / 'run', param_scheduler=schedule)
    run(config, f'rate-{len(schedule)}')
    config['optim_wrapper']['optimizer']['lr'] = 3e-2
    _, found = run(config, f'rate-{len(schedule)}-on', str(tmp_path / 'run/iter_4.pth'))
    config['work_dir'] = str(tmp_path / 'fresh')
    _, expected = run(config, f'rate-{len(schedule)}-fresh')
    assert list(found) == list(range(4, 10))
    assert found == pytest.approx({step: expected[step] for step in found})


@pytest.mark.slow
def test_arguments_of_a_schedule_take_effect_from_here_on(tmp_path):
    config = tiny_config(tmp_path, param_scheduler=[dict(STEPS)])
    run(config, 'gamma')
    config['param_scheduler'][0].update(gamma=0.1, milestones=[3, 8])
    _, found = run(config, 'gamma-on', str(tmp_path / 'iter_4.pth'))
    expected = {step: 5e-3 if step < 8 else 5e-4 for step in range(4, 10)}
    assert found == pytest.approx(expected)


def test_other_groups_keep_each_tensors_state(tmp_path, photos):
    """Layer decay, and whether tokens decay: weights are grouped otherwise."""
    config = mae_config(tmp_path, photos, batch_size=8, epochs=2)
    run(config, 'groups')
    config['optim_wrapper']['paramwise_cfg'] = dict(decay_tokens=False, layer_decay_rate=0.5)
    first = str(tmp_path / 'epoch_1.pth')
    runner = build_runner(Config(dict(config, experiment_name='groups-on')), resume=first)
    seen = {}

    class Look(Hook):
        def before_train(self, runner):
            optimizer = runner.optim_wrapper.optimizer
            names = {id(value): name for name, value in runner.model.named_parameters()}
            for group in optimizer.param_groups:
                for parameter in group['params']:
                    moment = optimizer.state[parameter]['exp_avg'].clone()
                    settings = group['lr'], group['initial_lr'], group['weight_decay']
                    seen[names[id(parameter)]] = moment, settings

    runner.register_hook(Look())
    runner.train()
    stored = safe_load(first)['optimizer']
    # The same run, from the beginning: which tensors the stored groups hold.
    paramwise = dict(decay_tokens=True, layer_decay_rate=0.8)
    old = Config(
        dict(
            mae_config(tmp_path / 'old', photos, batch_size=8, epochs=2),
            experiment_name='groups-old',
        )
    )
    assert old.optim_wrapper.paramwise_cfg == paramwise
    before = build_runner(old)
    wrapper = before.build_optim_wrapper(before.optim_wrapper)
    names = {id(value): name for name, value in before.model.named_parameters()}
    order = [names[id(p)] for group in wrapper.optimizer.param_groups for p in group['params']]
    shares = set()
    for index, name in enumerate(order):
        moment, (rate, initial, decay) = seen[name]
        assert torch.equal(moment, stored['state'][index]['exp_avg']), name
        shares.add(round(rate / initial, 9))
        depth = 3
        if name.startswith('backbone.blocks.'):
            depth = int(name.split('.')[2]) + 1
        elif name.startswith(('backbone.cls', 'backbone.patch')):
            depth = 0
        assert initial == pytest.approx(1e-3 * 0.5 ** (3 - depth)), name
        assert decay in (0.0, 1.0)
    assert len(shares) == 1 and 0 < shares.pop() < 1
    assert seen['backbone.cls_token'][1][2] == 0.0


def test_settings_of_the_model_that_are_in_no_state_take_effect(tmp_path, photos):
    config = mae_config(tmp_path, photos, batch_size=8, epochs=2)
    config['log_level'] = 'INFO'
    run(config, 'mask')
    config['model']['masking']['mask_ratio'] = 0.5
    runner, _ = run(config, 'mask-on', str(tmp_path / 'epoch_1.pth'))
    assert runner.model.masking.mask_ratio == 0.5
    (line,) = told(config)
    assert line.endswith('In effect from here on: model.masking.mask_ratio: 0.75 -> 0.5')


@pytest.mark.slow
@pytest.mark.parametrize('seeds', [(5, 6), (None, None)], ids=['changed', 'drawn'])
def test_the_seed_is_the_one_that_the_run_began_with(tmp_path, seeds):
    config = tiny_config(tmp_path / 'whole', log_level='INFO', randomness=dict(seed=seeds[0]))
    whole, _ = run(config, f'seed-{seeds[0]}')
    first = str(tmp_path / 'whole/iter_4.pth')
    config.update(randomness=dict(seed=seeds[1]), work_dir=str(tmp_path / 'parts'))
    parts, _ = run(config, f'seed-{seeds[0]}-on', first)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[name], value), name
    lines = told(config, 'randomness.seed=6 is without effect')
    assert len(lines) == (seeds[1] is not None)


@pytest.mark.slow
def test_nothing_changed_is_not_told(tmp_path):
    config = tiny_config(tmp_path, log_level='INFO')
    run(config, 'same')
    config['train_dataloader'].update(num_workers=1, persistent_workers=True)
    run(config, 'same-on', str(tmp_path / 'iter_5.pth'))
    assert not told(config)


def changed(config, place, value):
    node = config = copy.deepcopy(config)
    *parents, last = place.split('.')
    for parent in parents:
        node = node[int(parent)] if parent.isdigit() else node[parent]
    node[int(last) if last.isdigit() else last] = value
    return config


@pytest.mark.slow
@pytest.mark.parametrize(
    'place, value, message',
    [
        ('optim_wrapper.optimizer.type', 'Adam', "optimizer.type='Adam', .*of 'AdamW'"),
        ('param_scheduler.1.type', 'LinearLR', '`type` of the LinearLR'),
        ('param_scheduler.1.T_max', 3, '`T_max` of the CosineAnnealingLR'),
        ('param_scheduler', [dict(WARM_UP)], 'param_scheduler has 1 parts .* and 2 in'),
        ('model.decoder.depth', 3, r'decoder.* and \d+ more tensors.*decoder.depth: 1 -> 3'),
        ('model.head.target.norm_pix', False, None),
        ('optim_wrapper.constructor', 'DefaultOptimWrapperConstructor', 'parameter groups have'),
    ],
)
def test_what_the_state_does_not_fit_is_refused(tmp_path, photos, place, value, message):
    config = mae_config(tmp_path, photos, batch_size=8, epochs=2)
    config['param_scheduler'] = [dict(WARM_UP), dict(COSINE, begin=1)]
    name = f'refused-{place}'
    run(config, name)
    other = changed(config, place, value)
    if place.endswith('constructor'):
        del other['optim_wrapper']['paramwise_cfg']
    if message is None:
        run(other, f'{name}-on', str(tmp_path / 'epoch_1.pth'))
        return
    with pytest.raises(ValueError, match=rf'--resume: .*{message}.*--pretrained'):
        run(other, f'{name}-on', str(tmp_path / 'epoch_1.pth'))


def test_a_name_without_scope_is_that_of_the_default_scope():
    before = dict(default_scope='mae_plugin', model=dict(type='MAE', size=(1, 2)), other=1)
    now = dict(default_scope='mae_plugin', model=dict(type='mae_plugin.MAE', size=[1, 2]))
    assert find_changes(before, now) == []
    assert find_changes(before, dict(now, default_scope='mmdet')) == []
    (change,) = find_changes(
        before, dict(now, model=dict(type='MAE', size=[1, 2]), default_scope='mmdet')
    )
    assert str(change) == "model.type: 'mae_plugin.MAE' -> 'mmdet.MAE'"
    assert change.is_below('model') and not change.is_below('mod', 'model.type.x')
