"""Short pretraining runs through tools/train.py, each a process with a config of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[3]
EPOCHS = 2
# The config's own, but those that draw pictures and write pages.
HOOKS = ('ExactResumeHook', 'NonFiniteGuard', 'PreemptionHook', 'BadImagesHook')


@dataclass(frozen=True)
class RunSize:
    """A short run of :data:`EPOCHS` epochs: model (its decoder's width and depth), images."""

    arch: str | dict
    dims: int
    decoder: tuple[int, int]
    side: int
    batch: int
    iterations: int
    photos: int


# ViT-S on 128 px, with the paper's decoder; and one that takes no time.
REAL = RunSize('small', 384, (512, 8), 128, 256, 20, 512)
TINY = RunSize(dict(embed_dims=32, num_layers=1, num_heads=2), 32, (32, 1), 32, 4, 4, 8)


@dataclass
class Run:
    """How a run ended, and what its :class:`WatchHook` reported.

    Attributes:
        status: Exit status; -9 where it was killed at its time limit.
        seconds: From start to end.
        work_dir: Its work dir.
        report: What the hook wrote; empty where the run did not come to its end.
    """

    status: int
    seconds: float
    work_dir: Path
    report: dict[str, Any]

    @property
    def losses(self) -> list[float]:
        """Loss of each iteration."""
        return self.report.get('losses', [])

    def row(self, name: str) -> dict[str, Any]:
        """A row of a table."""
        return {
            'run': name,
            'exit status': self.status,
            'iterations': len(self.losses),
            'watched': self.report.get('watched', ''),
            'waits': sum(self.report.get('warnings', {}).values()),
            'first loss': self.losses[0] if self.losses else '',
            'last loss': self.losses[-1] if self.losses else '',
            'seconds': self.seconds,
        }


def write_config(
    path: Path, photos: Path, size: RunSize, workers: int, changes: Mapping[str, Any]
) -> Path:
    """Write the config of a run: the shipped one with this size, and changes ``{key: value}``."""
    cfg = Config.fromfile(ROOT / 'configs/mae_vit-b_pretrain.py')
    cfg.model.backbone.update(arch=size.arch, img_size=size.side)
    width, depth = size.decoder
    cfg.model.decoder.update(
        in_dims=size.dims, img_size=size.side, embed_dims=width, depth=depth, num_heads=width // 32
    )
    cfg.model.head.in_dims = width
    loader = cfg.train_dataloader
    loader.update(num_workers=workers, persistent_workers=workers > 0)
    loader.sampler.repeats = size.batch * size.iterations // size.photos
    loader.dataset.update(data_root=str(photos), data_prefix='', index_cache=False)
    loader.dataset.pipeline[0].size = size.side
    cfg.param_scheduler[0].end = cfg.param_scheduler[1].begin = 1
    cfg.train_cfg.max_epochs = EPOCHS
    cfg.default_hooks.logger.interval = 10 * size.iterations  # at an epoch's end alone
    cfg.default_hooks.checkpoint = dict(type='mae_plugin.CheckpointHook', interval=1)
    cfg.custom_hooks = [dict(type=f'mae_plugin.{name}') for name in HOOKS]
    for key, value in changes.items():
        if key == 'watch':
            cfg.custom_hooks.append(dict(type='gpu.watch_hook.WatchHook', **value))
        else:
            cfg.merge_from_dict({key: value})
    cfg.dump(path)
    return path


def train(
    config: Path,
    work_dir: Path,
    batch_size: int,
    limit: float,
    arguments: Sequence[str] = (),
    distributed: bool = False,
) -> Run:
    """Run tools/train.py.

    Args:
        config: The config.
        work_dir: The run's work dir.
        batch_size: Images of an iteration.
        limit: Seconds after which the run is killed.
        arguments: More arguments.
        distributed: Whether it is the only process of a distributed run.
    """
    # The batch is said on the command line, so that the run does not look for the largest.
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(config)]
    command += ['--work-dir', str(work_dir), '--batch-size', str(batch_size), *arguments]
    paths = [str(ROOT), str(ROOT / 'tools/dev'), os.environ.get('PYTHONPATH', '')]
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(filter(None, paths)),
        # Without it cuBLAS refuses to be deterministic.
        'CUBLAS_WORKSPACE_CONFIG': ':4096:8',
        # Packages that were installed without bytecode are compiled by the first run alone.
        'PYTHONPYCACHEPREFIX': os.environ.get(
            'PYTHONPYCACHEPREFIX', str(config.parent / 'bytecode')
        ),
        'PYTHONDONTWRITEBYTECODE': '',
    }
    if distributed:
        command += ['--launcher', 'pytorch']
        environment |= dict(
            RANK='0',
            WORLD_SIZE='1',
            LOCAL_RANK='0',
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(_free_port()),
        )
    print('$', ' '.join(command), flush=True)
    report = work_dir / 'watch.json'
    report.unlink(missing_ok=True)
    start = time.monotonic()
    with subprocess.Popen(command, env=environment, cwd=ROOT) as process:
        try:
            status = process.wait(max(limit, 1))
        except subprocess.TimeoutExpired:
            process.kill()
            status = -signal.SIGKILL
    content = json.loads(report.read_text()) if report.exists() else {}
    return Run(status, time.monotonic() - start, work_dir, content)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]
