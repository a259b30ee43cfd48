"""The start of several processes: one group, with time enough for what the guards may take."""

from datetime import timedelta

import pytest
from mmengine.config import Config
from tiny_run import build_runner, tiny_config

from mae_plugin.engine import launch

ENVIRONMENT = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1')
# What the code under test would set for good.
ENVIRONMENT |= dict(MASTER_PORT='29500', OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')


@pytest.fixture
def started(monkeypatch):
    """What the process group is started with, by a launcher's process."""
    found = {}
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        'torch.distributed.init_process_group',
        lambda backend, **options: found.update(options, backend=backend),
    )
    monkeypatch.setattr(
        launch, 'init_dist', lambda launcher, **options: found.update(options, launcher=launcher)
    )
    return found


def config(**changes):
    return Config(dict(launcher='pytorch', train_cfg=dict(type='ResumableEpochLoop'), **changes))


def test_processes_wait_longer_than_replacing_hung_workers_takes(started, monkeypatch):
    launch.prepare_launch(config())
    assert started == dict(backend='gloo', timeout=timedelta(seconds=1800))
    slow = config()
    slow.train_cfg.worker_timeout = 600
    launch.prepare_launch(slow)
    assert started['timeout'] == timedelta(seconds=4800)
    slow.env_cfg = dict(dist_cfg=dict(timeout=2400))
    with pytest.raises(ValueError, match=r'timeout=2400 s would end .* = 2400 s: raise'):
        launch.prepare_launch(slow)


def test_on_gpus_the_group_starts_before_anything_is_decided_too(started, monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    launch.prepare_launch(config(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    assert started == dict(launcher='pytorch', backend='nccl', timeout=1800)


def test_a_missing_variable_of_the_launcher_is_named(started, monkeypatch):
    monkeypatch.delenv('WORLD_SIZE')
    with pytest.raises(ValueError, match=r'WORLD_SIZE is not set: start through'):
        launch.prepare_launch(config())


def test_mpi_on_several_machines_needs_to_know_where_they_meet(started, monkeypatch):
    monkeypatch.delenv('MASTER_ADDR')
    for name, value in dict(RANK='0', SIZE='8', LOCAL_RANK='0', LOCAL_SIZE='4').items():
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{name}', value)
    cfg = config()
    cfg.launcher = 'mpi'
    with pytest.raises(ValueError, match='set MASTER_ADDR'):
        launch.prepare_launch(cfg)


@pytest.mark.parametrize('kind', ['mae_plugin.StreamSampler', 'StreamSampler'])
def test_the_batch_size_is_said_once_whatever_the_samplers_scope(tmp_path, kind):
    changes = dict(train_dataloader__sampler=dict(type=kind), epochs=1)
    runner = build_runner(tiny_config(tmp_path, **changes), f'sampler-{kind}')
    runner.train()
    assert runner.iter == 5
