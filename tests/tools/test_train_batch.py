"""`tools/train.py` finds a batch that fits and keeps it on resume; the learning rate follows."""

import json

import pytest
import torch
from front_door import run_tool, tiny_config, train, write_images

from mae_plugin.checkpoint.stored_config import literal_config

EXTRA = """
default_hooks['checkpoint'] = dict(interval=1, max_keep_ckpts=-1)
default_hooks['logger'] = dict(interval=1)
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(lr=1.0))
custom_hooks = [dict(type='ExactResumeHook')]
log_level = 'INFO'
"""


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Train the tiny front door on 12 images; give what was logged."""
    images = write_images(tmp_path / 'images', 12)

    def start(*args, options=(), extra='', **config):
        path = tiny_config(tmp_path / 'tiny.py', **config, extra=EXTRA + extra)
        train(monkeypatch, path, images, tmp_path / 'run', *args, options=options)
        return capsys.readouterr().out

    return start


@pytest.fixture
def fails(run, capsys):
    """The one line of an error."""

    def start(*args, **config):
        with pytest.raises(SystemExit) as stop:
            run(*args, **config)
        assert stop.value.code == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if 'error' in line]
        return line

    return start


def checkpoint(tmp_path, epoch=1):
    return torch.load(tmp_path / 'run' / f'epoch_{epoch}.pth', weights_only=True)


def batch_of(tmp_path, epoch=1):
    return literal_config(checkpoint(tmp_path, epoch)['meta']['cfg'])['train_dataloader'][
        'batch_size'
    ]


def first_rate(tmp_path):
    """The learning rate of the first step; a cosine begins at its full value."""
    (path,) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    return json.loads(path.read_text().splitlines()[0])['lr']


def line_of(out):
    (line,) = [line for line in out.splitlines() if 'INFO - Batch ' in line]
    return line


@pytest.mark.slow
def test_a_batch_that_fits_is_the_config_s(run, tmp_path):
    line = line_of(run(batch_size=4))
    assert 'Batch 4: it fits' in line and '--batch-size N' in line and ' cores, ' in line
    assert '4 of 4096 images a step' in line and '--accumulate 1024' in line
    assert batch_of(tmp_path) == 4 and first_rate(tmp_path) == pytest.approx(4 / 4096)


@pytest.mark.slow
def test_no_larger_than_the_data(run, tmp_path):
    line = line_of(run(batch_size=512))
    assert 'Batch 12 (config: 512): there are 12 images' in line
    assert batch_of(tmp_path) == 12 and first_rate(tmp_path) == pytest.approx(12 / 4096)


@pytest.mark.slow
def test_a_step_takes_seconds(run, tmp_path, monkeypatch):
    monkeypatch.setattr('mae_plugin.engine.meters.CPU_SECONDS', 0.0)
    assert 'Batch 1 (config: 4): more take over 0 s' in line_of(run(batch_size=4))
    assert batch_of(tmp_path) == 1 and first_rate(tmp_path) == pytest.approx(1 / 4096)


@pytest.mark.slow
def test_nothing_fits(fails, monkeypatch):
    monkeypatch.setattr('mae_plugin.engine.batch_probe.available_memory', lambda: 30_000)
    line = fails(batch_size=4)
    assert line.startswith('error: not even a batch of 1 fits') and '--batch-size 1' in line


def test_a_batch_of_the_user_s_is_not_tried(run, tmp_path, monkeypatch):
    monkeypatch.setattr('mae_plugin.engine.batch_probe.available_memory', lambda: 30_000)
    out = run('--batch-size', '3', batch_size=4)
    assert 'Trying' not in out and 'Batch 3 (config: 4): as you say.' in line_of(out)
    assert batch_of(tmp_path) == 3 and first_rate(tmp_path) == pytest.approx(3 / 4096)


def test_cfg_options_are_left_to_the_config(run, tmp_path, monkeypatch):
    monkeypatch.setattr('mae_plugin.engine.batch_probe.available_memory', lambda: 30_000)
    options = ['train_dataloader.batch_size=6', 'auto_scale_lr.enable=False']
    out = run(batch_size=4, options=options)
    assert 'Trying' not in out and ' - Batch ' not in out
    assert batch_of(tmp_path) == 6 and first_rate(tmp_path) == pytest.approx(1.0)


@pytest.mark.slow
def test_the_learning_rate_follows_where_the_config_leaves_it_off(run, tmp_path):
    run(batch_size=4, extra='auto_scale_lr = dict(enable=False, base_batch_size=16)')
    assert first_rate(tmp_path) == pytest.approx(4 / 16)


@pytest.mark.slow
@pytest.mark.parametrize('given, counts', [('3', 3), ('recipe', 4)])
def test_accumulation_reaches_the_recipe(run, tmp_path, given, counts):
    line = line_of(
        run('--accumulate', given, batch_size=4, extra='auto_scale_lr = dict(base_batch_size=16)')
    )
    assert f'4 x {counts} = {4 * counts} of 16 images a step' in line
    config = literal_config(checkpoint(tmp_path)['meta']['cfg'])
    assert config['optim_wrapper']['accumulative_counts'] == counts
    assert first_rate(tmp_path) == pytest.approx(4 * counts / 16)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_batch(run, tmp_path, monkeypatch):
    """Without a word of the user's, on a machine that would now take more."""
    monkeypatch.setattr('mae_plugin.engine.meters.CPU_SECONDS', 0.0)
    run(batch_size=4)
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    monkeypatch.setattr('mae_plugin.engine.meters.CPU_SECONDS', 100.0)
    line = line_of(run('--resume', batch_size=4))
    assert 'Batch 1 (config: 4): as the run began' in line
    assert batch_of(tmp_path, 2) == 1
    assert checkpoint(tmp_path, 2)['meta']['iter'] == 24


@pytest.mark.slow
def test_a_resumed_run_keeps_its_accumulation(run, fails, tmp_path):
    run('--batch-size', '2', '--accumulate', '3', batch_size=4)
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    line = fails('--resume', '--accumulate', '2', batch_size=4)
    assert '--accumulate 2' in line and 'began with 3 iterations to a step' in line
    assert '2 x 3 = 6 of 4096 images a step' in line_of(run('--resume', batch_size=4))
    stored = literal_config(checkpoint(tmp_path, 2)['meta']['cfg'])
    assert stored['optim_wrapper']['accumulative_counts'] == 3


@pytest.mark.slow
def test_another_batch_than_the_resumed_run_s_is_refused(run, fails, tmp_path):
    run(batch_size=4)
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    line = fails('--resume', '--batch-size', '2', batch_size=4)
    assert "'global_batch': 4" in line and "'global_batch': 2" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    'args, options, parts',
    [
        (['--batch-size', '4'], ['train_dataloader.batch_size=2'], ['--batch-size 4', 'one of']),
        (['--accumulate', 'recipe'], ['auto_scale_lr=None'], ['recipe', 'base_batch_size']),
        (
            ['--accumulate', '4'],
            ['optim_wrapper.accumulative_counts=2'],
            ['--accumulate 4', 'accumulative_counts=2'],
        ),
    ],
)
def test_requests_that_cannot_be_met(fails, args, options, parts):
    line = fails(*args, options=options)
    assert all(part in line for part in parts)


@pytest.mark.parametrize('value', ['0', '-2', 'many', '1.5'])
def test_batches_that_are_no_number(run, capsys, value):
    with pytest.raises(SystemExit):
        run('--batch-size', value)
    assert f"'{value}' is no whole number above 0" in capsys.readouterr().err


@pytest.mark.slow
def test_no_workers_and_more_than_cores(run, tmp_path):
    """torch refuses persistent workers where there are none; 99 would only take turns."""
    loader = 'train_dataloader.'
    extra = 'train_dataloader.update(num_workers=0, persistent_workers=True, prefetch_factor=2)'
    run(extra=extra)
    run(extra='train_dataloader.update(num_workers=99, persistent_workers=True)')
    stored = literal_config(checkpoint(tmp_path)['meta']['cfg'])['train_dataloader']
    assert 1 <= stored['num_workers'] <= 16
    run(options=[loader + 'num_workers=3', loader + 'persistent_workers=True'])
    stored = literal_config(checkpoint(tmp_path)['meta']['cfg'])['train_dataloader']
    assert stored['num_workers'] == 3


@pytest.mark.slow
def test_trying_leaves_no_trace(run, tmp_path):
    """The weights are those of a run in which nothing was tried."""
    run(batch_size=4)
    tried = checkpoint(tmp_path, 2)['state_dict']
    run('--batch-size', '4', batch_size=4)
    for name, value in checkpoint(tmp_path, 2)['state_dict'].items():
        assert torch.equal(value, tried[name]), name


@pytest.mark.slow
def test_several_folders(monkeypatch, tmp_path, capsys):
    folders = [write_images(tmp_path / name, 4, seed=seed) for seed, name in enumerate('abc')]
    path = tiny_config(tmp_path / 'tiny.py', batch_size=4, extra=EXTRA)
    work_dir = ['--work-dir', str(tmp_path / 'run')]
    run_tool(monkeypatch, 'train', *work_dir, '--data-root', *folders, path, '--no-validate')
    assert checkpoint(tmp_path, 2)['meta']['iter'] == 6  # 12 images, 4 at a time, 2 epochs
