"""The start of a run of several processes, on machines with and without an accelerator."""

import atexit
import os
import subprocess
import time
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.utils.dl_utils import set_multi_processing

from mae_plugin.compat import mmengine_strategies
from mae_plugin.engine.feed import RESTARTS, TIMEOUT
from mae_plugin.engine.loop import ResumableEpochLoop
from mae_plugin.errors import UserError
from mae_plugin.registry import LOOPS, STRATEGIES, builds, find_type

# Where each launcher says who this process is: rank, number of processes, rank on the machine.
_ENVIRONMENT = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def prepare_launch(cfg: Config) -> None:
    """Start the process group of a run, before anything is decided that all must agree on.

    Where there is no accelerator, mmengine's own start would fail: it selects a CUDA device
    whatever the backend, and gives the wrappers a device number.

    Args:
        cfg: Config with ``launcher``; on a CPU gets ``model_wrapper_cfg``, or the strategy's
            ``model_wrapper``. ``env_cfg.dist_cfg.timeout`` (seconds) gets a value that leaves
            time to replace hung data workers: NCCL's own, 600, would end the run meanwhile.

    Raises:
        UserError: The launcher's environment variables are missing, or the timeout is too short.
    """
    launcher = cfg.get('launcher') or 'none'
    if launcher == 'none':
        return
    on_cpu = get_device() == 'cpu'
    if on_cpu:
        _wrap_on_cpu(cfg)
    env_cfg = cfg.get('env_cfg') or {}
    dist_cfg = dict(env_cfg.get('dist_cfg') or dict(backend='nccl'))
    dist_cfg['timeout'] = _group_timeout(cfg, dist_cfg.get('timeout'))
    if is_distributed():
        return
    _set_environment(launcher)
    set_multi_processing(**env_cfg.get('mp_cfg', {}), distributed=True)
    if on_cpu:
        timeout = timedelta(seconds=dist_cfg['timeout'])
        torch.distributed.init_process_group('gloo', timeout=timeout)
        # gloo's threads still drop tensors of the last exchange, for which they need Python: where
        # it is finalized already the process aborts, and torchrun calls a finished run failed.
        atexit.register(time.sleep, 0.5)
    else:
        init_dist(launcher, **dist_cfg)


def _group_timeout(cfg: Config, chosen: float | None) -> float:
    """Seconds that processes wait for each other: longer than replacing hung workers takes."""
    loop = cfg.get('train_cfg') or {}
    if not builds(LOOPS, loop, ResumableEpochLoop, cfg.get('default_scope')):
        return chosen or 1800
    attempts = loop.get('worker_restarts', RESTARTS) + 1
    patience = attempts * loop.get('worker_timeout', TIMEOUT)
    if chosen is not None and chosen <= patience:
        raise UserError(
            f'env_cfg.dist_cfg.timeout={chosen} s would end the run while one process replaces a '
            f'hung data worker, which takes up to (worker_restarts + 1) x worker_timeout = '
            f'{patience:g} s: raise the one, or lower the others in train_cfg'
        )
    return chosen or max(1800, 2 * patience)


def _wrap_on_cpu(cfg: Config) -> None:
    """Fill in what the model's wrapper needs for modules on the CPU."""
    strategy = cfg.get('strategy')
    if strategy is None:
        defaults = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
            device_ids=None,
        )
        cfg.model_wrapper_cfg = dict(defaults, **(cfg.get('model_wrapper_cfg') or {}))
    elif _is_ddp(strategy, cfg.get('default_scope')):
        defaults = dict(broadcast_buffers=False, device_ids=None)
        strategy.model_wrapper = dict(defaults, **(strategy.get('model_wrapper') or {}))


def _is_ddp(strategy: Any, scope: str | None) -> bool:
    """Whether a strategy is mmengine's own: those made of it (FSDP) have other wrappers."""
    return find_type(STRATEGIES, strategy.get('type'), scope) is mmengine_strategies().DDPStrategy


def _set_environment(launcher: str) -> None:
    """Translate a launcher's variables into those that torch reads."""
    names = _ENVIRONMENT[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher {launcher}, but {", ".join(missing)} is not set: start through '
            'tools/dist_train.sh or tools/slurm_train.sh, or leave --launcher out'
        )
    for name, source in zip(_ENVIRONMENT['pytorch'], names):
        os.environ[name] = os.environ[source]
    local = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE')
    if launcher == 'mpi' and 'MASTER_ADDR' not in os.environ and local != os.environ['WORLD_SIZE']:
        raise UserError('--launcher mpi on several machines: set MASTER_ADDR to that of rank 0')
    if 'MASTER_ADDR' not in os.environ:
        nodes = os.environ.get('SLURM_NODELIST')
        command = ['scontrol', 'show', 'hostnames', nodes or '']
        os.environ['MASTER_ADDR'] = (
            subprocess.check_output(command, text=True).split()[0] if nodes else '127.0.0.1'
        )
    os.environ.setdefault('MASTER_PORT', '29500')
