"""A run that stops anywhere and goes on equals the run that never stopped, to the last bit."""

import shutil

import pytest
import torch
from mmengine.hooks import Hook
from tiny_run import build_runner, log_lines, tiny_config, validating

from mae_plugin.engine.resume import find_resumable

WALL_CLOCK = ('time', 'train/time', 'train/data_time', 'val/time', 'val/data_time', 'eta')
OF_THE_FOLDER = ('experiment_name', 'last_ckpt', 'cfg')


class StopError(Exception):
    """Stands for a crash right after an iteration or an epoch."""


class StopHook(Hook):
    """Stops after an iteration, or between an epoch's checkpoint and its validation."""

    priority = 'LOWEST'

    def __init__(self, iteration=None, epoch=None):
        self.iteration, self.epoch = iteration, epoch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            raise StopError

    def after_train_epoch(self, runner):
        if runner.epoch + 1 == self.epoch:
            raise StopError


def differences(one, other, name=''):
    """Names of everything that differs between two nested structures."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = [f'{name}/{key}' for key in one.keys() ^ other.keys()]
        for key in one.keys() & other.keys():
            if key not in WALL_CLOCK + OF_THE_FOLDER:
                found += differences(one[key], other[key], f'{name}/{key}')
        return found
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        pairs = enumerate(zip(one, other, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f'{name}/{i}')]
    same = torch.equal(one, other) if torch.is_tensor(one) else one == other
    return [] if same else [name]


def accumulating(**changes):
    return dict(optim_wrapper__accumulative_counts=3, **changes)


def scaling(**changes):
    """A gradient scaler whose scale grows every third step, and falls where a loss is infinite."""
    return dict(
        model=dict(type='TinyModel', poison={4: 'constant'}),
        optim_wrapper=dict(
            type='AmpOptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-2),
            dtype='bfloat16',
            loss_scale=dict(init_scale=8.0, growth_interval=3),
        ),
        **changes,
    )


CASES = {
    'inside an epoch': (dict(workers=2), dict(iteration=7)),
    'at the last iteration of an epoch': (dict(), dict(iteration=5)),
    'inside an accumulation': (accumulating(), dict(iteration=8)),
    'before a validation that draws random numbers': (validating(), dict(epoch=2)),
    'after a change of the gradient scale': (scaling(), dict(iteration=8)),
}


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, case, request):
    changes, stop = CASES[case]
    if case == 'after a change of the gradient scale':
        request.getfixturevalue('amp_on_cpu')
    name = f'resume-{list(CASES).index(case)}'
    whole = tiny_config(tmp_path / 'whole', epochs=3, **changes)
    build_runner(whole, f'{name}-whole').train()

    parts = tiny_config(tmp_path / 'parts', epochs=3, **changes)
    first = build_runner(parts, f'{name}-first')
    first.register_hook(StopHook(**stop))
    with pytest.raises(StopError):
        first.train()
    torch.manual_seed(12345)
    parts.update(resume=True, load_from=find_resumable(tmp_path / 'parts'))
    parts['model'] = dict(type='TinyModel')  # what is poisoned came before
    build_runner(parts, f'{name}-second').train()

    assert log_lines(tmp_path / 'parts') == log_lines(tmp_path / 'whole')
    names = sorted(path.name for path in (tmp_path / 'whole').glob('*.pth'))
    assert names == sorted(path.name for path in (tmp_path / 'parts').glob('*.pth'))
    # Plain torch opens our files, without any allow-list.
    final = [
        torch.load(tmp_path / run / names[-1], weights_only=True) for run in ('whole', 'parts')
    ]
    for key in ('state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'exact_resume'):
        assert differences(final[0][key], final[1][key], key) == []
    if 'gradient scale' in case:  # iteration 9: grown, halved by the infinite loss, grown
        assert final[1]['optimizer']['loss_scaler']['scale'] == 8 * 2 / 2 * 2


def test_another_sampler_drops_batches_and_keeps_the_order(tmp_path):
    changes = dict(train_dataloader__sampler=dict(type='DefaultSampler', shuffle=True))
    build_runner(tiny_config(tmp_path / 'whole', **changes), 'default-whole').train()
    parts = tiny_config(tmp_path / 'parts', **changes)
    first = build_runner(parts, 'default-first')
    first.register_hook(StopHook(iteration=8))
    with pytest.raises(StopError):
        first.train()
    parts.update(resume=True, load_from=str(tmp_path / 'parts' / 'iter_8.pth'))
    build_runner(parts, 'default-second').train()
    assert log_lines(tmp_path / 'parts') == log_lines(tmp_path / 'whole')


def test_another_global_batch_or_dataset_is_refused(tmp_path):
    work_dir = tmp_path / 'run'
    build_runner(tiny_config(work_dir, epochs=1), 'batch-first').train()
    again = dict(resume=True, load_from=find_resumable(work_dir))
    other = tiny_config(work_dir, batch_size=2, **again)
    with pytest.raises(ValueError, match=r"'global_batch': 4.*'global_batch': 2.*load_from"):
        build_runner(other, 'batch-other').train()
    grown = tiny_config(work_dir, train_dataloader__dataset=dict(type='TinyImages', length=40))
    with pytest.raises(ValueError, match='epoch_length'):
        build_runner(dict(grown, **again), 'batch-grown').train()


def test_starting_from_weights_leaves_random_state_and_position_alone(tmp_path):
    build_runner(tiny_config(tmp_path / 'one', epochs=1), 'weights-one').train()
    path = tmp_path / 'weights.pth'
    shutil.copy(tmp_path / 'one' / 'iter_5.pth', path)
    both = []
    for name in ('two', 'three'):
        torch.manual_seed(len(name))
        config = tiny_config(tmp_path / name, epochs=1, load_from=str(path))
        build_runner(config, f'weights-{name}').train()
        both.append(log_lines(tmp_path / name))
    assert both[0] == both[1]
    assert min(both[0]) == 1


def test_validations_log_lines_hold_no_bookkeeping(tmp_path):
    """Of older checkpoints neither, which are validated once."""
    config = tiny_config(tmp_path, log_level='INFO', **validating())
    runner = build_runner(config, 'log')
    runner.train()
    file = tmp_path / 'epoch_2.pth'
    checkpoint = torch.load(file, weights_only=True)
    hub = checkpoint['message_hub']
    hub['runtime_info']['validated_epoch'] = 2
    for key in ('runtime_info', 'resumed_keys'):
        hub[key].pop('epoch_validated')
    hub['resumed_keys']['validated_epoch'] = True
    torch.save(checkpoint, file)
    config['train_cfg']['max_epochs'] = 3
    config['param_scheduler'] = None
    build_runner(dict(config, load_from=str(file), resume=True), 'log-on').train()
    texts = [path.read_text() for path in tmp_path.glob('*/*.log')]
    lines = [line for text in texts for line in text.splitlines() if 'noise: ' in line]
    assert len(lines) == 3 and not any('validated' in line for line in lines)
