"""Several processes on machines without an accelerator, where mmengine's own start fails."""

import os
import subprocess
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.utils.dl_utils import set_multi_processing

# Where each launcher says who this process is: rank, number of processes, rank on the machine.
_ENVIRONMENT = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def prepare_launch(cfg: Config) -> None:
    """Start the process group of a run on CPUs, and let its model be wrapped there.

    mmengine selects a CUDA device whatever the backend, and gives the wrappers a device number.
    On a machine with an accelerator, or without a launcher, nothing is done: mmengine does it.

    Args:
        cfg: Config with ``launcher``; gets ``model_wrapper_cfg``, or the strategy's
            ``model_wrapper``, for CPU modules. ``env_cfg.dist_cfg.timeout`` (seconds) is kept.

    Raises:
        ValueError: The launcher's environment variables are missing.
    """
    launcher = cfg.get('launcher') or 'none'
    if launcher == 'none' or get_device() != 'cpu':
        return
    _wrap_on_cpu(cfg)
    if is_distributed():
        return
    _set_environment(launcher)
    env_cfg = cfg.get('env_cfg') or {}
    set_multi_processing(**env_cfg.get('mp_cfg', {}), distributed=True)
    timeout = (env_cfg.get('dist_cfg') or {}).get('timeout', 1800)
    torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=timeout))


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
    elif strategy.type == 'DDPStrategy':
        defaults = dict(broadcast_buffers=False, device_ids=None)
        strategy.model_wrapper = dict(defaults, **(strategy.get('model_wrapper') or {}))


def _set_environment(launcher: str) -> None:
    """Translate a launcher's variables into those that torch reads."""
    names = _ENVIRONMENT[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f'--launcher {launcher}, but {", ".join(missing)} is not set: start through '
            'tools/dist_train.sh or tools/slurm_train.sh, or leave --launcher out'
        )
    for name, source in zip(_ENVIRONMENT['pytorch'], names):
        os.environ[name] = os.environ[source]
    if 'MASTER_ADDR' not in os.environ:
        nodes = os.environ.get('SLURM_NODELIST')
        command = ['scontrol', 'show', 'hostnames', nodes or '']
        os.environ['MASTER_ADDR'] = (
            subprocess.check_output(command, text=True).split()[0] if nodes else '127.0.0.1'
        )
    os.environ.setdefault('MASTER_PORT', '29500')
