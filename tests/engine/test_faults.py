"""The fault table: each test injects a real fault into a real run, in a process of its own.

``tools/dev/fault_table.py`` runs them, more kills included, and writes the table.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest
import torch
from mmengine.config import Config
from processes import REPO, finish, run, start, wait_for
from tiny_run import log_lines, mae_config, tiny_config

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.engine.resume import find_resumable

KILLS = int(os.environ.get('FAULT_KILLS', '3'))


def iteration(work_dir):
    """The last logged iteration."""
    return max(log_lines(work_dir), default=0)


def assert_same_run(one, other):
    """Two work dirs hold the same final weights, optimizer, smoothed values and log lines."""
    files = [safe_load(find_resumable(folder)) for folder in (one, other)]
    assert files[0]['meta']['iter'] == files[1]['meta']['iter']
    for name, weight in files[0]['state_dict'].items():
        assert torch.equal(weight, files[1]['state_dict'][name]), name
    losses = [file['message_hub']['log_scalars']['train/loss']['values'] for file in files]
    assert torch.equal(*losses)
    states = [file['optimizer']['state'] for file in files]
    for index, state in states[0].items():
        for name, value in state.items():
            assert torch.equal(value, states[1][index][name])
    assert log_lines(one) == log_lines(other)


@pytest.mark.slow
def test_sigkill_at_random_times(tmp_path, photos, record_property):
    epochs = 2 + 2 * KILLS  # no kill comes after the end
    changes = dict(batch_size=8, epochs=epochs)

    def config(name):
        made = mae_config(tmp_path / name, photos, **changes)
        made['train_dataloader'].update(num_workers=2, persistent_workers=True)
        made['default_hooks']['checkpoint'].update(interval=3, by_epoch=False, max_keep_ckpts=2)
        return made

    run(config('whole'))
    chance = random.Random(7)
    killed_at = []
    for kill in range(KILLS):
        process = start(config('parts'), resume='auto')[0]
        reached = iteration(tmp_path / 'parts')
        if kill % 4 == 3:  # while starting or resuming
            end = time.monotonic() + chance.uniform(0.1, 2.0)
            while time.monotonic() < end and iteration(tmp_path / 'parts') < reached + 5:
                time.sleep(0.002)
        else:
            target = reached + chance.randint(1, 5)
            while iteration(tmp_path / 'parts') < min(target, 5 * epochs - 1):
                assert process.is_alive()
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.05))
        process.kill()
        assert finish([process]) == [-signal.SIGKILL]
        killed_at.append(iteration(tmp_path / 'parts'))
    run(config('parts'), resume='auto')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    record_property('evidence', f'{KILLS} kills, at iterations {killed_at} of {5 * epochs}')


@pytest.mark.slow
def test_sigkill_while_a_checkpoint_is_written(tmp_path, record_property):
    def config(name):
        made = tiny_config(tmp_path / name, epochs=1)
        made['model'].update(ballast=8_000_000)
        made['default_hooks']['checkpoint'].update(max_keep_ckpts=2)
        return made

    run(config('whole'))
    half = tmp_path / 'parts' / '.iter_3.pth.writing'
    attempts = 0
    while not half.exists():
        attempts += 1
        assert attempts < 10, 'the kill came too late nine times'
        shutil.rmtree(tmp_path / 'parts', ignore_errors=True)
        process = start(config('parts'))[0]
        wait_for(half)
        process.kill()
        finish([process])
    size, full = half.stat().st_size, (tmp_path / 'parts' / 'iter_2.pth').stat().st_size
    assert find_resumable(tmp_path / 'parts') == str(tmp_path / 'parts' / 'iter_2.pth')
    run(config('parts'), resume='auto')
    assert not half.exists()
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    share = f'{size / 1e6:.0f} of {full / 1e6:.0f} MB written'
    record_property('evidence', f'{share}, attempt {attempts}; resumed from the one before')


@pytest.mark.slow
def test_sigterm(tmp_path, record_property):
    def config(name):
        made = tiny_config(tmp_path / name, epochs=4, workers=2)
        made['model'].update(delay=0.02)
        made['default_hooks']['checkpoint'].update(interval=100)
        made['custom_hooks'].append(dict(type='PreemptionHook'))
        return made

    run(config('whole'))
    process = start(config('parts'))[0]
    while iteration(tmp_path / 'parts') < 3:
        time.sleep(0.005)
    process.terminate()
    assert finish([process]) == [143]
    saved = safe_load(find_resumable(tmp_path / 'parts'))['meta']['iter']
    assert 3 <= saved < 20
    run(config('parts'), resume='auto')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    record_property('evidence', f'status 143, checkpoint of iteration {saved} of 20')


@pytest.mark.slow
@pytest.mark.parametrize('host', ['mmdet', 'mmseg', 'mmpretrain'])
def test_sigterm_in_a_hosts_run_of_iterations(tmp_path, host, record_property):
    """With the hooks that detection, segmentation and classification runs get."""
    runtime = Config.fromfile(f'{REPO}/configs/_base_/{host}_runtime.py').to_dict()
    hooks = {k: v for k, v in runtime['default_hooks'].items() if k != 'visualization'}
    hooks['checkpoint'].update(by_epoch=False, interval=100)
    hooks['logger'].update(interval=1)

    def config(name):
        made = tiny_config(tmp_path / name, default_hooks=hooks, custom_hooks=[])
        made['model'].update(delay=0.02)
        made['train_cfg'] = dict(type='IterBasedTrainLoop', max_iters=20)
        made['train_dataloader']['sampler'] = dict(type='InfiniteSampler', shuffle=True)
        made['param_scheduler'] = dict(type='PolyLR', by_epoch=False, end=20)
        made['log_processor'] = dict(by_epoch=False)
        return dict(made, randomness=runtime['randomness'])

    run(config('whole'))
    process = start(config('parts'))[0]
    while iteration(tmp_path / 'parts') < 3:
        time.sleep(0.005)
    process.terminate()
    assert finish([process]) == [143]
    saved = safe_load(find_resumable(tmp_path / 'parts'))['meta']['iter']
    assert 3 <= saved < 20
    run(config('parts'), resume='auto')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    record_property('evidence', f'{host}: checkpoint of iteration {saved} of 20')


@pytest.mark.slow
def test_truncated_newest_checkpoint(tmp_path, record_property):
    config = tiny_config(tmp_path / 'parts', epochs=2)
    config['default_hooks']['checkpoint'].update(interval=4, save_last=False)
    run(dict(config, work_dir=str(tmp_path / 'whole')))
    run(config)
    for folder in ('whole', 'parts'):
        assert find_resumable(tmp_path / folder).endswith('iter_8.pth')
    newest = tmp_path / 'parts' / 'iter_8.pth'
    newest.write_bytes(newest.read_bytes()[:-1000])
    run(config, resume='auto')
    output = (tmp_path / 'parts' / 'output-0.txt').read_text()
    assert f'passing over a damaged checkpoint: {newest}' in output
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    record_property('evidence', 'said so, took iteration 4 instead of 8')


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a tmpfs of 1 MB; where mounting is not allowed, None."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', str(folder)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    yield folder if mounted else None
    if mounted:
        subprocess.run(['umount', '-l', folder], check=True)


@pytest.mark.slow
def test_full_disk(tmp_path, small_disk, record_property):
    work_dir = small_disk or tmp_path / 'limited'
    config = tiny_config(work_dir, epochs=2)
    config['model'].update(ballast=50_000, delay=0.02)
    process = start(config, logs=tmp_path)[0]
    if small_disk is None:  # then its files may not grow so large, which ends a write alike
        wait_for(work_dir / 'iter_2.pth')
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    assert finish([process]) == [1]
    output = (tmp_path / 'output-0.txt').read_text()
    assert f'no room for {work_dir}' in output and '--resume auto' in output
    last = safe_load(find_resumable(work_dir))['meta']['iter']
    assert 2 <= last < 10
    if small_disk:
        subprocess.run(['mount', '-o', 'remount,size=20m', small_disk], check=True)
    run(config, resume='auto', logs=tmp_path)
    run(dict(config, work_dir=str(tmp_path / 'whole')), logs=tmp_path)
    assert_same_run(tmp_path / 'whole', work_dir)
    kind = 'tmpfs of 1 MB' if small_disk else 'files limited to 100 kB'
    record_property('evidence', f'{kind}; stopped, iteration {last} intact, went on with room')
