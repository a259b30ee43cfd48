"""Checkpoints on the disk: whole or absent, checked, and never fewer than promised."""

import os
import resource
from unittest.mock import ANY

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from tiny_run import build_runner, tiny_config

from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.engine.atomic import find_damage, write_checkpoint
from mae_plugin.engine.fsdp import _write_folder
from mae_plugin.engine.resume import agree_on_resume, find_resumable, resolve_resume
from mae_plugin.files import atomic_write


def saved(tmp_path, name='a.pth', iteration=1, **content):
    """A checkpoint as the hook writes it, with training state."""
    plain = tmp_path / 'plain.bin'
    content = content or dict(optimizer={}, message_hub={})
    torch.save(dict(meta=dict(iter=iteration, epoch=0), w=torch.randn(500), **content), plain)
    write_checkpoint(tmp_path / name, plain.read_bytes())
    plain.unlink()
    return tmp_path / name


def test_written_files_are_whole_and_plain_torch_reads_them(tmp_path):
    path = saved(tmp_path)
    assert find_damage(path) is None
    for mmap in (False, True):
        assert torch.load(str(path), weights_only=True, mmap=mmap)['meta']['iter'] == 1
    assert sorted(os.listdir(tmp_path)) == ['a.pth']


@pytest.mark.parametrize('where', [0.01, 0.3, 0.6, 0.97])
def test_one_flipped_bit_is_found(tmp_path, where):
    path = saved(tmp_path)
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 4
    path.write_bytes(data)
    assert find_damage(path) is not None


@pytest.mark.parametrize('zipped', [True, False])
def test_foreign_files_are_checked_too(tmp_path, zipped):
    path = tmp_path / 'foreign.pth'
    torch.save({'w': torch.randn(1000)}, path, _use_new_zipfile_serialization=zipped)
    assert find_damage(path) is None
    path.write_bytes(path.read_bytes()[:-700])
    assert find_damage(path) is not None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    atomic_write(tmp_path / 'x', b'old')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=f'no room for {tmp_path}/x .*--resume auto'):
            atomic_write(tmp_path / 'x', bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / 'x').read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['x']


def test_newest_whole_checkpoint_wins_aloud(tmp_path, capsys):
    assert find_resumable(tmp_path) is None
    paths = [saved(tmp_path, f'iter_{i}.pth', i) for i in (9, 10, 30, 20)]
    torch.save(dict(meta=dict(iter=99), state_dict={}), tmp_path / 'best_loss.pth')
    os.utime(paths[1])
    assert find_resumable(tmp_path) == str(paths[2])
    paths[2].write_bytes(paths[2].read_bytes()[:-500])
    assert find_resumable(tmp_path) == str(paths[3])
    said = capsys.readouterr()
    assert f'passing over a damaged checkpoint: {paths[2]}' in said.out + said.err
    flipped = bytearray(paths[3].read_bytes())
    flipped[-1500] ^= 1
    paths[3].write_bytes(flipped)
    assert find_resumable(tmp_path) == str(paths[1])
    for path in (paths[0], paths[1]):
        path.write_bytes(b'')
    with pytest.raises(ValueError, match=r'no checkpoint in .* is whole.*--resume PATH'):
        find_resumable(tmp_path)


def test_resume_argument(tmp_path):
    assert resolve_resume('auto', tmp_path) is None
    path = saved(tmp_path, 'iter_3.pth', 3)
    assert resolve_resume('auto', tmp_path) == str(path)
    assert resolve_resume(str(path), tmp_path / 'elsewhere') == str(path)
    with pytest.raises(FileNotFoundError, match='--resume auto'):
        resolve_resume(str(tmp_path / 'none.pth'), tmp_path)
    weights = saved(tmp_path, 'weights.pth', 4, state_dict={})
    with pytest.raises(ValueError, match='load_from'):
        resolve_resume(str(weights), tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r'iter_3\.pth.*--resume auto'):
        resolve_resume(str(path), tmp_path)


def sharded(folder, iteration, ranks, shards):
    folder.mkdir()
    for rank in ranks:
        saved(folder, f'rank{rank}.pth', iteration, optimizer={}, shards=shards)
    return folder


def test_a_sharded_checkpoint_that_lacks_a_file_is_passed_over(tmp_path):
    whole = sharded(tmp_path / 'epoch_1.pth', 5, ranks=(0, 1), shards=2)
    parts = sharded(tmp_path / 'epoch_2.pth', 10, ranks=(0, 1), shards=3)
    assert find_resumable(tmp_path) == str(whole)
    with pytest.raises(ValueError, match='holds 2 of 3 files'):
        resolve_resume(str(parts), tmp_path)
    with pytest.raises(ValueError, match=r'is sharded.*tools/gather_checkpoint\.py'):
        agree_on_resume('auto', Config(dict(work_dir=str(tmp_path))))


def test_a_machine_that_does_not_see_the_checkpoint_is_named(tmp_path, monkeypatch):
    saved(tmp_path)
    module = 'mae_plugin.engine.resume'
    monkeypatch.setattr(f'{module}.all_gather_object', lambda mine: [mine, ('node7', False)])
    with pytest.raises(ValueError, match=r'a\.pth, which node7 cannot see'):
        agree_on_resume('auto', Config(dict(work_dir=str(tmp_path))))


def test_processes_that_loaded_different_iterations_stop(tmp_path, monkeypatch):
    module = 'mae_plugin.engine.hooks.exact_resume'
    monkeypatch.setattr(f'{module}.all_gather_object', lambda mine: [mine, (5, 1)])
    with pytest.raises(ValueError, match=r'\[\(0, 0\), \(5, 1\)\]'):
        build_runner(tiny_config(tmp_path), 'different').train()


class Foreign:
    """What only an unrestricted unpickler makes."""


def test_a_run_that_trusts_its_checkpoints_can_be_resumed(tmp_path):
    saved(tmp_path, optimizer={}, thing=Foreign())
    config = Config(dict(work_dir=str(tmp_path), default_hooks=dict(checkpoint=None)))
    with pytest.raises(ValueError, match='Foreign'):
        agree_on_resume('auto', config)
    config.default_hooks.checkpoint = dict(trust_checkpoints=True)
    assert agree_on_resume('auto', config) == str(tmp_path / 'a.pth')


def test_the_name_of_a_sharded_checkpoint_reaches_the_disk(tmp_path, monkeypatch):
    """The rename is flushed: after a power cut the folder is there under its name."""
    flushed = []
    fsync = os.fsync

    def watch(descriptor):
        flushed.append((os.readlink(f'/proc/self/fd/{descriptor}'), os.listdir(tmp_path)))
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', watch)
    monkeypatch.setattr('torch.distributed.get_world_size', lambda: 1)
    for iteration in (1, 2):
        _write_folder(tmp_path / 'last.pth', dict(meta=dict(iter=iteration)))
        assert flushed[-1] == (str(tmp_path), ANY)
        assert 'last.pth' in flushed[-1][1]
        assert safe_load(tmp_path / 'last.pth' / 'rank0.pth')['meta'] == dict(iter=iteration)
        assert os.listdir(tmp_path) == ['last.pth']


class FullDisk(Hook):
    """From a checkpoint on, no file may grow beyond 1 kB, as on a full disk."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_save_checkpoint(self, runner, checkpoint):
        if checkpoint['meta']['iter'] == self.iteration:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))


def test_a_full_disk_stops_the_run_and_costs_no_old_checkpoint(tmp_path):
    work_dir = tmp_path / 'run'
    config = tiny_config(work_dir)
    config['default_hooks']['checkpoint'].update(interval=2, max_keep_ckpts=2)
    runner = build_runner(config, 'full')
    runner.register_hook(FullDisk(6))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match=r'no room for .*iter_6\.pth .*--resume auto'):
            runner.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in work_dir.glob('*.pth')) == ['iter_2.pth', 'iter_4.pth']
    assert not list(work_dir.glob('.*'))

    (work_dir / '.iter_2.pth.writing').write_bytes(b'left by a killed run')
    build_runner(dict(config, resume=True, load_from=find_resumable(work_dir)), 'fuller').train()
    assert sorted(path.name for path in work_dir.glob('*.pth')) == ['iter_10.pth', 'iter_8.pth']
    assert not list(work_dir.glob('.*'))
    pointed = (work_dir / 'last_checkpoint').read_text()
    assert pointed == str(work_dir / 'iter_10.pth')
    assert safe_load(pointed)['message_hub']['runtime_info']['keep_ckpt_ids'] == [8, 10]
