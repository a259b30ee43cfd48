"""Seconds from the command to the first iteration of a pretraining run on a folder of images.

This project's tools/train.py and mmpretrain's run in turn on the same folder with the same small
model, batch size and workers; a run is ended when its first training line appears. The folder is
--data-root (class folders), or 10,000 small JPEGs made for the occasion. "first" starts without
this project's index of the folder, "again" with it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from .report import Report, Stat, add_common_arguments, alternate, describe, ratio

ROOT = Path(__file__).resolve().parents[3]

# Both: ViT-tiny, one decoder block, a line for each iteration. {options} are filled in.
OURS = """
_base_ = ['{root}/configs/mae_vit-b_pretrain.py']
model = dict(backbone=dict(arch='tiny'), decoder=dict(in_dims=192, depth=1))
train_dataloader = dict(batch_size={batch_size}, num_workers={workers})
default_hooks = dict(logger=dict(interval=1))
"""
THEIRS = """
_base_ = ['{configs}/mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py']
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768
        )
    ),
    neck=dict(embed_dim=192, decoder_depth=1),
)
# Its ImageNet class insists on 1000 class folders; this is its class for other folders.
train_dataloader = dict(
    batch_size={batch_size},
    num_workers={workers},
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='{data_root}',
        data_prefix='train',
        with_label=False,
        pipeline={{{{_base_.train_pipeline}}}},
    ),
)
# Its mixed precision refuses to start on a CPU.
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05),
)
default_hooks = dict(logger=dict(interval=1))
"""
# Runs another project's script although torchvision may not match torch.
SHIM = """
import runpy, sys
sys.path.insert(0, {root!r})
from mae_plugin.cli.torchvision_compat import keep_torchvision_importable
keep_torchvision_importable()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Command line of ``benchmark.py startup``."""
    add_common_arguments(parser, rounds=3)
    parser.add_argument('--data-root', metavar='DIR', help='folder with train/CLASS/*.jpg')
    parser.add_argument('--images', type=int, default=10_000, help='JPEGs to make without one')
    parser.add_argument('--batch-size', type=int, default=2)
    parser.add_argument('--workers', type=int, default=2)


def main(args: Namespace) -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        root = Path(args.data_root).resolve() if args.data_root else scratch / 'images'
        if not args.data_root:
            make_images(root / 'train', args.images)
        runs = {
            'mae_plugin, first': lambda: start_ours(args, root, scratch, fresh_index=True),
            'mae_plugin, again': lambda: start_ours(args, root, scratch, fresh_index=False),
        }
        if importlib.util.find_spec('mmpretrain') is not None:
            runs['mmpretrain'] = lambda: start_theirs(args, root, scratch)
        times = alternate(runs, args.rounds)

    report = Report('Start-up', describe(args))
    peer = [wall for wall, _ in times.get('mmpretrain', [])]
    report.table(
        'From the command to the first iteration',
        [
            {
                'run': name,
                'seconds': Stat(wall for wall, _ in values),
                'of mmpretrain': ratio([wall for wall, _ in values], peer) if peer else '',
                'processor seconds': Stat(processor for _, processor in values),
            }
            for name, values in times.items()
        ],
    )
    report.finish(args.out)


def make_images(folder: Path, count: int, classes: int = 10) -> None:
    """Write ``count`` JPEGs of 256 x 192 noise in class folders, hard links of a few files."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    for name in range(classes):
        (folder / f'class{name}').mkdir(parents=True)
    for index in range(count):
        path = folder / f'class{index % classes}' / f'{index:06d}.jpg'
        if index < classes:
            small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            cv2.imwrite(str(path), cv2.resize(small, (256, 192), interpolation=cv2.INTER_CUBIC))
        else:
            first = index % classes
            os.link(folder / f'class{first}' / f'{first:06d}.jpg', path)


def start_ours(
    args: Namespace, root: Path, scratch: Path, fresh_index: bool
) -> tuple[float, float]:
    """Wall-clock and processor seconds until this project's first iteration."""
    config = scratch / 'ours.py'
    config.write_text(
        OURS.format(root=ROOT, batch_size=args.batch_size, workers=args.workers), encoding='utf-8'
    )
    cache = tempfile.mkdtemp(dir=scratch) if fresh_index else str(scratch / 'cache')
    command = [str(ROOT / 'tools/train.py'), str(config), '--data-root', str(root)]
    command += ['--work-dir', str(scratch / 'work_dirs')]
    return first_iteration(command, args, scratch, dict(XDG_CACHE_HOME=cache))


def start_theirs(args: Namespace, root: Path, scratch: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds until mmpretrain's first iteration."""
    spec = importlib.util.find_spec('mmpretrain')
    assert spec is not None and spec.origin is not None
    mim = Path(spec.origin).parent / '.mim'
    config, shim = scratch / 'theirs.py', scratch / 'shim.py'
    config.write_text(
        THEIRS.format(
            configs=mim / 'configs', data_root=root, batch_size=args.batch_size,
            workers=args.workers,
        ),
        encoding='utf-8',
    )  # fmt: skip
    shim.write_text(SHIM.format(root=str(ROOT)), encoding='utf-8')
    command = [str(shim), str(mim / 'tools/train.py'), str(config)]
    command += ['--work-dir', str(scratch / 'theirs_work_dirs')]
    return first_iteration(command, args, scratch, {})


def first_iteration(
    command: list[str], args: Namespace, folder: Path, variables: dict[str, str]
) -> tuple[float, float]:
    """Run a Python script until its first line of training, and end it.

    Returns:
        Wall-clock seconds until then, and processor seconds of the main process.

    Raises:
        RuntimeError: If it ends before, with the end of its output.
    """
    environment = os.environ | variables | dict(PYTHONUNBUFFERED='1')
    if args.threads:
        environment['OMP_NUM_THREADS'] = str(args.threads)
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    wall = None
    try:
        for line in process.stdout:
            lines.append(line)
            if 'Epoch(train)' in line:
                wall = time.perf_counter() - start
                break
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its data workers too
        _, process.returncode, usage = os.wait4(process.pid, 0)
    if wall is not None:
        return wall, usage.ru_utime + usage.ru_stime
    raise RuntimeError(f'{" ".join(command)} ended early:\n' + ''.join(lines[-30:]))
