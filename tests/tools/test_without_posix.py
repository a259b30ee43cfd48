"""Training where the operating system has none of POSIX's modules, and starts processes anew."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from front_door import ROOT, tiny_config, write_images
from torch.utils.data import DataLoader

from mae_plugin import files
from mae_plugin.engine.feed import BatchFeed

# Python runs this when any process starts, data workers too. mmengine asks for the system's
# name before it imports `resource` or chooses how processes start.
HIDE = """
import multiprocessing, os, platform, sys
try:
    import platformdirs  # takes POSIX for granted, where sys.platform names no Windows
except ImportError:
    pass
platform.system = lambda: 'Windows'
multiprocessing.set_start_method('spawn')
for name in ('fcntl', 'grp', 'pwd', 'resource', 'termios'):
    sys.modules[name] = None
for name in ('fork', 'forkpty', 'getuid', 'pread', 'O_DIRECTORY', 'O_NOFOLLOW'):
    delattr(os, name)
"""


@pytest.mark.slow
def test_pretraining_on_such_a_system(tmp_path):
    (tmp_path / 'hide').mkdir()
    (tmp_path / 'hide/sitecustomize.py').write_text(HIDE)
    write_images(tmp_path / 'images')
    config = tiny_config(tmp_path / 'tiny.py')
    run = subprocess.run(
        [
            *(sys.executable, '-m', 'mae_plugin', 'train', str(config), '--work-dir', 'run'),
            *('--data-root', 'images', '--cfg-options'),
            *('train_dataloader.num_workers=1', 'train_dataloader.dataset.index_cache=True'),
        ],
        env=os.environ | dict(
            PYTHONPATH=f'{tmp_path / "hide"}{os.pathsep}{ROOT}',
            XDG_CACHE_HOME=str(tmp_path / 'cache'),
            OMP_NUM_THREADS='1',
        ),
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / 'run/epoch_1.pth').is_file()
    assert list((tmp_path / 'cache').rglob('index-*.npz'))


def test_batches_without_a_signal_of_childrens_death(monkeypatch):
    monkeypatch.delattr(signal, 'SIGCHLD')
    loader = DataLoader(torch.arange(4), batch_size=2)
    batches = [batch.tolist() for _, batch in BatchFeed(loader, seed=0).batches(0)]
    assert batches == [[0, 1], [2, 3]]


@pytest.mark.parametrize('name', ['pread', None])
def test_reading_at_a_place(monkeypatch, tmp_path, name):
    if name:
        monkeypatch.delattr(os, name)
    (tmp_path / 'file').write_bytes(bytes(range(100)))
    descriptor = files.open_to_read(tmp_path / 'file')
    try:
        assert files.read_at(descriptor, 3, 50) == bytes([50, 51, 52])
        assert files.read_at(descriptor, 10, 97) == bytes([97, 98, 99])
    finally:
        os.close(descriptor)


def test_a_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path):
    code = (
        'import sys, os, time; from mae_plugin.files import locked\n'
        f'with locked({str(tmp_path / "lock")!r}):\n'
        '    print("held", flush=True); sys.stdin.read(1); os._exit(1)\n'
    )

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, '-c', code],
            env=os.environ | dict(PYTHONPATH=str(ROOT)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    holder = start()
    assert holder.stdout.readline() == 'held\n'
    waiter = start()
    with pytest.raises(subprocess.TimeoutExpired):
        waiter.wait(1.0)
    holder.communicate('x')
    assert waiter.stdout.readline() == 'held\n'
    waiter.communicate('x')
