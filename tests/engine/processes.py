"""Real processes that start in a moment: forked from one that has done the imports."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from pathlib import Path

HERE = str(Path(__file__).parent)
REPO = str(Path(__file__).parents[2])
_PRELOAD = [
    'tiny_run',
    'mae_plugin.engine.runner',
    'mae_plugin.models',
    'mae_plugin.datasets',
    # What a run imports on its way.
    'matplotlib.pyplot',
    'torch._dynamo',
]


def _context():
    # The server is a fresh interpreter; it finds our modules through the environment alone.
    paths = [HERE, REPO, *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
    os.environ['PYTHONPATH'] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(_PRELOAD)
    return context


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def train(config, resume, rank, world, port, log):
    """What each process does: the work of ``tools/train.py``."""
    with open(log, 'ab', buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # The server ignores SIGINT, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import tiny_run  # noqa: F401 - registers the tiny parts
    import torch
    from mmengine.config import Config

    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable
    from mae_plugin.engine.runner import build_runner

    keep_torchvision_importable()
    torch.set_num_threads(1)
    # '{rank}' in the work dir: each process sees a disk of its own.
    config = Config(dict(config, work_dir=config['work_dir'].format(rank=rank)))
    if world > 1:
        config.launcher = 'pytorch'
        names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=world, MASTER_PORT=port)
        os.environ.update({name: str(value) for name, value in names.items()})
        os.environ['MASTER_ADDR'] = '127.0.0.1'
    build_runner(config, resume=resume).train()


def start(config, resume=None, world=1, logs=None):
    """Start a run of ``world`` processes; returns them."""
    port = free_port()
    logs = Path(logs or config['work_dir'])
    logs.mkdir(parents=True, exist_ok=True)
    processes = []
    for rank in range(world):
        log = str(logs / f'output-{rank}.txt')
        process = _context().Process(target=train, args=(config, resume, rank, world, port, log))
        process.start()
        processes.append(process)
    return processes


def finish(processes, timeout=300):
    """Wait for all; returns their exit codes."""
    for process in processes:
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f'a process of the run still lives after {timeout} s')
    return [process.exitcode for process in processes]


def run(config, resume=None, world=1, logs=None):
    """Start a run and wait for its end; any failure shows its output."""
    codes = finish(start(config, resume, world, logs))
    if any(codes):
        for rank in range(world):
            log = Path(logs or config['work_dir']) / f'output-{rank}.txt'
            sys.stderr.write(log.read_text()[-4000:])
    assert codes == [0] * world


def wait_for(path, timeout=300):
    """Wait until a file exists."""
    end = time.monotonic() + timeout
    while not Path(path).exists():
        if time.monotonic() > end:
            raise TimeoutError(f'{path} did not appear in {timeout} s')
        time.sleep(0.005)
