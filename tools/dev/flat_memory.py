"""Measure that a long run's memory is flat, and what an index of a million paths costs.

A real, tiny training with the front door's hooks runs for some thousand iterations, checkpoints
and pictures included, while the memory of the main process and of its data workers is read from
/proc. Then a folder of empty files is indexed in a process of its own, and its workers go through
the names.

Example:
    python tools/dev/flat_memory.py --out configs/pretrain/scale_out/memory.md
"""

import math
import multiprocessing
import os
import resource
import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from benchmarks.memory import resident
from mmengine.config import Config
from mmengine.hooks import Hook
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[2]
BATCH, IMAGES = 8, 64


class MemoryHook(Hook):
    """Notes the resident memory of the main process and of its workers.

    A worker's includes what it shares with the main process: its private share would grow when
    that one writes.
    """

    priority = 'LOWEST'

    def __init__(self, every: int = 25) -> None:
        self.every = every
        self.rows: list[tuple[int, float, float]] = []

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Read /proc at every so many iterations."""
        if (runner.iter + 1) % self.every == 0:
            workers = [worker.pid for worker in runner.train_dataloader._iterator._workers]
            theirs = np.mean([resident(pid)['Rss'] for pid in workers])
            self.rows.append((runner.iter + 1, resident()['Rss'], float(theirs)))


def train(folder: Path, iterations: int, workers: int) -> np.ndarray:
    """(samples, 3): iteration, MiB of the main process, MiB of a worker."""
    from PIL import Image

    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable
    from mae_plugin.engine.runner import build_runner

    keep_torchvision_importable()
    images = folder / 'images'
    images.mkdir()
    for index in range(IMAGES):
        pixels = np.random.default_rng(index).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((160, 120)).save(images / f'{index}.jpg')
    cfg = Config.fromfile(ROOT / 'configs/mae_vit-b_pretrain.py')
    size = dict(img_size=64, patch_size=16)
    cfg.model.backbone.update(arch=dict(embed_dims=48, num_layers=2, num_heads=3), **size)
    cfg.model.decoder.update(in_dims=48, embed_dims=32, depth=1, num_heads=2, **size)
    cfg.model.head.in_dims = 32
    loader = cfg.train_dataloader
    repeats = math.ceil(100 * BATCH / IMAGES)  # about a hundred iterations an epoch
    loader.update(batch_size=BATCH, num_workers=workers)
    loader.sampler.repeats = repeats
    loader.dataset.update(data_root=str(images), data_prefix='')
    loader.dataset.pipeline[0].size = 64
    cfg.train_cfg.max_epochs = math.ceil(iterations / (IMAGES * repeats // BATCH))
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint.interval = 1
    for hook in cfg.custom_hooks:
        if hook.type == 'mae_plugin.ReconstructionHook':
            hook.interval = 5
    cfg.update(work_dir=str(folder / 'run'), launcher='none', log_level='WARNING')
    runner = build_runner(cfg)
    hook = MemoryHook()
    runner.register_hook(hook)
    runner.train()
    return np.array(hook.rows)


class Names(Dataset):
    """Goes through the names of a folder's images, and tells the worker's private memory."""

    def __init__(self, images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> float:
        self.images.path(index)
        return resident()['Private'] if index % 10_000 == 9_999 else 0.0


def index_folder(folder: Path, paths: int) -> str:
    """What an index of ``paths`` images costs: a sentence."""
    for number in range(0, paths, 1000):
        (folder / f'n{number // 1000:08d}').mkdir(parents=True)
        for index in range(min(1000, paths - number)):
            name = f'n{number // 1000:08d}/n{number // 1000:08d}_{index:05d}.JPEG'
            os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))

    def measure(answer) -> None:
        from mae_plugin.datasets import ImageFolder

        before = resident()['Rss']
        images = ImageFolder(str(folder), labels=False, index_cache=False)
        added = resident()['Rss'] - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
        loader = DataLoader(Names(images), 1000, num_workers=2, collate_fn=max)
        told = [value for value in loader if value]
        answer.put((len(images), added, peak, told[-1] - told[0]))

    context = multiprocessing.get_context('fork')
    answer = context.Queue()
    context.Process(target=measure, args=(answer,)).start()
    count, added, peak, grown = answer.get()
    return (
        f'An index of {count:,} paths adds {added:.0f} MiB to the main process ({peak:.0f} MiB at '
        f'the highest, while listing). A worker that goes through its half of the names, from the '
        f'first {10_000:,} on, adds {max(grown, 0):.1f} MiB of its own: it copies no index.'
    )


def main() -> None:
    """Measure both and write the page."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--iterations', type=int, default=3000)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--paths', type=int, default=1_000_000, help='of the index; 0 leaves it')
    parser.add_argument('--out', type=Path, default=Path('memory.md'), help='Markdown file')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        index = index_folder(Path(scratch) / 'paths', args.paths) if args.paths else ''
        rows = train(Path(scratch), args.iterations, args.workers)
    late = rows[len(rows) // 2 :]
    command = f'tools/dev/flat_memory.py --iterations {args.iterations} --workers {args.workers}'
    lines = ['# Memory of a long run', '', f'Written by `python {command}`, on a CPU.', '']
    lines += [
        '| process | resident at the end, MiB | slope, MiB per 1,000 iterations |',
        '|---|---|---|',
    ]
    for column, name in ((1, 'main'), (2, 'each worker, shared pages included')):
        slope = np.polyfit(late[:, 0] / 1000, late[:, column], 1)[0]
        lines.append(f'| {name} | {rows[-1, column]:.0f} | {slope:+.2f} |')
    lines += [
        '',
        f'Slopes are of the second half of {int(rows[-1, 0])} iterations, over which the run '
        'saves a checkpoint every hundred and draws a picture every five hundred.',
        '',
    ]
    lines += [f'![memory by iteration]({args.out.stem}.png)', '', index]
    args.out.write_text('\n'.join(lines).rstrip() + '\n')
    print(args.out.read_text())

    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3), dpi=100, layout='constrained')
    axes.plot(rows[:, 0], rows[:, 1], label='main process')
    axes.plot(rows[:, 0], rows[:, 2], label='a worker, shared pages included')
    axes.set(xlabel='iteration', ylabel='MiB', ylim=(0, None))
    axes.legend()
    figure.savefig(args.out.with_suffix('.png'))


if __name__ == '__main__':
    main()
