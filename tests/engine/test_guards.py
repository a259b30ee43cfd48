"""The guards: non-finite steps, signals, dead and hung workers, in real (tiny) runs."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmengine.hooks import Hook
from tiny_run import (
    TinyImages,
    TinyModel,
    build_runner,
    log_lines,
    mae_config,
    tiny_collate,
    tiny_config,
    validating,
)

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.datasets.sampler import StreamSampler
from mae_plugin.engine.hooks import PreemptionHook
from mae_plugin.engine.resume import find_resumable


def guarded(work_dir, poison, max_in_row=3, dropout=0.0, **changes):
    config = tiny_config(work_dir, param_scheduler=None, **changes)
    config['model'].update(poison=poison, dropout=dropout)
    config['custom_hooks'].append(dict(type='NonFiniteGuard', max_in_row=max_in_row))
    return config


def train_by_hand(skipped, accumulate=1, iterations=10):
    """AdamW on the stream's batches, leaving out the steps in ``skipped``."""
    model = TinyModel(dropout=0.0)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    dataset = TinyImages()
    sampler = StreamSampler(dataset, batch_size=4, seed=5)
    keys = [key for _ in range(2) for key in sampler]
    for iteration in range(iterations):
        batch = tiny_collate([dataset[key] for key in keys[4 * iteration : 4 * iteration + 4]])
        (model(batch['inputs'], mode='loss')['loss'] / accumulate).backward()
        if (iteration + 1) % accumulate == 0:
            if iteration not in skipped:
                optimizer.step()
            optimizer.zero_grad()
    return model.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['loss', 'constant', 'grad'])
def test_a_non_finite_step_is_skipped_and_told(tmp_path, kind, capsys):
    runner = build_runner(guarded(tmp_path, {3: kind, 7: kind, 8: kind}), f'nan-{kind}')
    runner.train()
    expected = train_by_hand(skipped={3, 7, 8})
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    lines = (tmp_path / 'non_finite_rank0.txt').read_text().splitlines()
    assert [line.split('\t')[0] for line in lines] == ['iteration 4', 'iteration 8', 'iteration 9']
    assert all(line.count('img-') == 4 for line in lines)
    logged = log_lines(tmp_path)
    assert len(logged) == 10
    assert all(values['loss'] == values['loss'] for values in logged.values())
    hub = safe_load(find_resumable(tmp_path))['message_hub']['runtime_info']
    assert hub['skipped_steps'] == 3 and hub['skipped_in_row'] == 0


def test_non_finite_steps_in_a_row_stop_the_run_with_good_weights(tmp_path):
    poison = dict.fromkeys(range(4, 10), 'grad')
    runner = build_runner(guarded(tmp_path, poison), 'nan-row')
    with pytest.raises(RuntimeError, match=r'3 steps in a row.*non_finite_rank0\.txt'):
        runner.train()
    assert runner.iter == 6
    expected = train_by_hand(skipped=set(), iterations=4)
    last = safe_load(find_resumable(tmp_path))
    assert last['meta']['iter'] == 6
    assert all(torch.equal(last['state_dict'][name], expected[name]) for name in expected)


def test_one_bad_batch_spoils_its_whole_accumulation(tmp_path):
    config = guarded(tmp_path, {2: 'loss'}, optim_wrapper__accumulative_counts=2)
    runner = build_runner(config, 'nan-accumulated')
    runner.train()
    expected = train_by_hand(skipped={3}, accumulate=2)
    for name, value in runner.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
    assert (tmp_path / 'non_finite_rank0.txt').read_text().count('img-') == 8


class SignalAt(Hook):
    """Sends a signal to this process, or to its group's workers too, at an iteration."""

    def __init__(self, iteration, number, workers=False):
        self.iteration, self.number, self.workers = iteration, number, workers

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            children = []
            if self.workers:
                listed = f'/proc/{os.getpid()}/task/{os.getpid()}/children'
                with open(listed) as file:
                    children = [int(pid) for pid in file.read().split()]
                assert children
            for pid in (*children, os.getpid()):
                os.kill(pid, self.number)


def status_of(runner):
    """The status with which a run leaves that is told to; the handlers come back."""
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    try:
        with pytest.raises(SystemExit) as left:
            runner.train()
    finally:
        signal.signal(signal.SIGTERM, handlers[0])
        signal.signal(signal.SIGINT, handlers[1])
    return left.value.code


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_leaves_with_its_status_and_goes_on_exactly(tmp_path, number):
    name = f'signal-{number}'
    workers = 2 if number == signal.SIGTERM else 0
    changes = dict(workers=workers, epochs=3)
    whole = build_runner(tiny_config(tmp_path / 'whole', **changes), f'{name}-whole')
    whole.train()
    config = tiny_config(tmp_path / 'parts', **changes)
    config['default_hooks']['checkpoint'].update(interval=4, max_keep_ckpts=1)
    config['custom_hooks'].append(dict(type='PreemptionHook'))
    runner = build_runner(config, f'{name}-first')
    runner.register_hook(SignalAt(7, number, workers=workers > 0))
    assert status_of(runner) == 128 + number
    found = find_resumable(tmp_path / 'parts')
    assert found == str(tmp_path / 'parts' / 'iter_7.pth')
    again = build_runner(dict(config, resume=True, load_from=found), f'{name}-second')
    again.train()
    expected = whole.model.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in again.model.state_dict().items())
    assert log_lines(tmp_path / 'parts') == log_lines(tmp_path / 'whole')
    # The extra file went when regular ones followed, and max_keep_ckpts=1 held.
    assert [path.name for path in (tmp_path / 'parts').glob('*.pth')] == ['iter_15.pth']


def test_a_loop_that_cannot_go_on_inside_an_epoch_says_so(tmp_path):
    config = tiny_config(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=2))
    config['train_dataloader']['sampler'] = dict(type='DefaultSampler', shuffle=True)
    config['custom_hooks'].append(dict(type='PreemptionHook'))
    runner = build_runner(config, 'signal-epoch-loop')
    runner.register_hook(SignalAt(8, signal.SIGTERM))
    assert status_of(runner) == 143
    (log,) = tmp_path.glob('*/*.log')
    assert 'EpochBasedTrainLoop will begin epoch 2 anew' in log.read_text()


class SignalInValidation(Hook):
    def before_val_iter(self, runner, batch_idx, data_batch=None):
        os.kill(os.getpid(), signal.SIGTERM)


def test_left_inside_a_validation_the_average_stays_the_average(tmp_path):
    config = tiny_config(tmp_path, **validating())
    config['default_hooks']['checkpoint'].update(interval=100)
    config['custom_hooks'] += [dict(type='PreemptionHook'), dict(type='EMAHook', momentum=0.1)]
    runner = build_runner(config, 'signal-ema')
    trained = {}

    class Remember(Hook):
        def after_train_epoch(self, runner):
            trained.update({k: v.clone() for k, v in runner.model.state_dict().items()})

    runner.register_hook(Remember())
    runner.register_hook(SignalInValidation())
    assert status_of(runner) == 143
    saved = torch.load(find_resumable(tmp_path), weights_only=True)
    # mmengine exchanges the names in the file: the average is what others load.
    ema = {k.removeprefix('module.'): v for k, v in saved['ema_state_dict'].items()}
    assert all(torch.equal(ema[key], value) for key, value in trained.items())
    assert not torch.equal(saved['state_dict']['net.1.weight'], trained['net.1.weight'])


def test_what_processes_agreed_is_read_a_fixed_number_of_iterations_later():
    hook = PreemptionHook(lag=2)
    answers = []
    for received in (0, 0, 0, 15, 15, 15, 15):
        hook._received = received
        answers.append(hook._agree())
    assert answers == [0, 0, 0, 0, 0, 15, 15]
    with pytest.raises(ValueError, match='lag=-1'):
        PreemptionHook(lag=-1)


def faulty(tmp_path, name, **changes):
    faults = tmp_path / 'faults'
    faults.mkdir()
    config = tiny_config(tmp_path / name, workers=2, **changes)
    config['train_dataloader']['dataset']['faults'] = str(faults)
    config['train_cfg'].update(worker_timeout=3.0)
    return config, faults


@pytest.mark.slow
@pytest.mark.parametrize('fault', ['kill', 'hang'])
def test_a_lost_worker_is_replaced_and_changes_nothing(tmp_path, fault, capsys):
    whole = build_runner(tiny_config(tmp_path / 'whole'), f'{fault}-whole')
    whole.train()
    config, faults = faulty(tmp_path, 'parts')
    (faults / f'{fault}-13').touch()
    runner = build_runner(config, f'{fault}-parts')
    start = time.monotonic()
    runner.train()
    assert time.monotonic() - start < 60
    assert not list(faults.iterdir()), 'the fault happened'
    expected = whole.model.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in runner.model.state_dict().items())
    said = ''.join(capsys.readouterr())
    assert 'Starting the workers again' in said
    assert 'was on' in said and 'img-13.png' in said


def test_workers_that_keep_dying_stop_the_run_with_the_file(tmp_path):
    config, _ = faulty(tmp_path, 'run')
    config['train_dataloader']['dataset'].update(type='TinyImages', deadly=13)
    config['train_cfg'].update(worker_restarts=1)
    runner = build_runner(config, 'deadly')
    with pytest.raises(RuntimeError, match=r'(?s)img-13\.png.*failed 2 times.*--resume auto'):
        runner.train()


def test_an_error_of_the_dataset_is_not_retried(tmp_path):
    config, faults = faulty(tmp_path, 'run')
    (faults / 'raise-13').touch()
    runner = build_runner(config, 'raising')
    with pytest.raises(OSError, match=r'cannot read img-13\.png'):
        runner.train()


def test_a_picture_that_fails_ends_no_run_and_comes_after_the_checkpoint(
    tmp_path, photos, monkeypatch
):
    there = []

    def fail(*args):
        there.append(sorted(path.name for path in tmp_path.glob('*.pth')))
        raise RuntimeError('no such band')

    monkeypatch.setattr('mae_plugin.engine.hooks.reconstruction.reconstruction_panels', fail)
    config = mae_config(tmp_path, photos, batch_size=8, epochs=2)
    config['custom_hooks'].append(dict(type='ReconstructionHook', interval=1))
    build_runner(config, 'pictures-fail').train()
    assert there == [['epoch_1.pth'], ['epoch_1.pth', 'epoch_2.pth']]
    (log,) = tmp_path.glob('*/*.log')
    assert log.read_text().count("no picture after epoch 2: RuntimeError('no such band')") == 1


def test_a_run_in_a_thread_cannot_catch_signals_and_says_so(tmp_path):
    """As in notebooks and services."""
    config = tiny_config(tmp_path, epochs=1)
    config['custom_hooks'].append(dict(type='PreemptionHook'))
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with ThreadPoolExecutor() as pool:
        pool.submit(lambda: build_runner(config, 'thread').train()).result()
    assert (tmp_path / 'iter_5.pth').exists()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    (log,) = tmp_path.glob('*/*.log')
    assert 'not in the main thread' in log.read_text()
