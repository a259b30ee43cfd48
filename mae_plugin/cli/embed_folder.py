"""The work behind ``tools/embed.py``: parts in processes, then the files."""

import itertools
import multiprocessing
import os
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mae_plugin.datasets import ImageFolder
from mae_plugin.errors import UserError
from mae_plugin.evaluation.embedding import Job, embed_parts, prepare, read_parts
from mae_plugin.evaluation.encoder import load_encoder
from mae_plugin.evaluation.feature_table import check_table, write_table
from mae_plugin.evaluation.neighbours import nearest
from mae_plugin.evaluation.stored_decoding import stored_decoding
from mae_plugin.files import atomic_write
from mae_plugin.visualization.contact_sheet import SIDE, contact_sheet
from mae_plugin.visualization.data_report import small_picture
from mae_plugin.visualization.feature_map import check_method, render_map

_ROWS, _COLUMNS = 10, 7  # of the neighbours' sheet
_POLL = 0.5  # seconds between looks at what other processes have written


def embed_folder(args: Namespace) -> list[str]:
    """Embed; returns what was written, and what there is to tell.

    Args:
        args: See :func:`mae_plugin.cli.embed.parse_args`.

    Raises:
        UserError: If a file or library is missing, or no image can be used.
    """
    check_table(args.out)
    if args.map:
        check_method(args.method)
    names, paths = _list(args.folders)
    out = Path(args.out)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    gpus = torch.cuda.device_count() if device == 'cuda' else 1
    processes = args.processes or max(1, gpus)
    workers = args.num_workers
    if workers is None:
        workers = min(4, max(0, (os.cpu_count() or 1) // processes - 1))
    job = Job(
        checkpoint=args.checkpoint,
        paths=paths,
        folder=str(out.with_name(f'.{out.name}.parts')),
        pools=tuple(dict.fromkeys(args.pool)),
        size=args.size,
        batch_size=args.batch_size,
        workers=workers,
        num_heads=args.num_heads,
        config=args.config,
    )
    # Before the work: what the file holds, told once, and what it cannot give.
    vit, _ = load_encoder(job.checkpoint, job.num_heads, job.config)
    if job.pools != ('avg',) and vit.cls_token is None:
        raise UserError(f'{job.checkpoint} has no class token: take --pool avg')
    if job.size and job.size % vit.patch_size:
        raise UserError(f'--size {job.size} is no multiple of the patch size, {vit.patch_size}')
    _embed(job, prepare(job), processes, device, gpus)
    count, bad = _write(job, names, out)
    written = [f'{out}: {count:,} images, {", ".join(job.pools)}']
    if bad:
        number, why = next(iter(bad.items()))
        written.append(f'left out: {len(bad):,} images, such as {paths[number]}: {why}')
    if args.neighbours or args.map:
        written += _draw(args, job, names, vit.patch_embed.proj.in_channels)
    shutil.rmtree(job.folder)
    return written


def _list(folders: list[str]) -> tuple[list[str], list[str]]:
    """Names for the table, and full paths: one folder's are relative to it."""
    names, paths = [], []
    for folder in folders:
        found = ImageFolder(folder, labels=False)
        for path in found.paths:
            paths.append(os.path.join(folder, path))
            names.append(path if len(folders) == 1 else paths[-1])
    return names, paths


def _embed(job: Job, due: list[int], processes: int, device: str, gpus: int) -> None:
    """Write the parts that are due, with a bar that tells when the end is near."""
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    total, left = len(job.paths), sum(len(job.images(part)) for part in due)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
        task = bars.add_task('images', total=total, completed=total - left)
        if not due:
            return
        if processes == 1:
            embed_parts(job, due, device, progress=lambda done: bars.advance(task, done))
            return
        threads = max(1, (os.cpu_count() or 1) // processes) if device == 'cpu' else None
        context = multiprocessing.get_context('spawn')
        workers = [
            context.Process(
                target=embed_parts,
                args=(
                    job,
                    due[rank::processes],
                    f'cuda:{rank % gpus}' if device == 'cuda' else device,
                    threads,
                ),
            )
            for rank in range(min(processes, len(due)))
        ]
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers):
                for worker in workers:
                    worker.join(_POLL / len(workers))
                if any(worker.exitcode for worker in workers):
                    break
                done = sum(len(job.images(part)) for part in due if job.part(part).is_file())
                bars.update(task, completed=total - left + done)
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()
    failed = [worker.exitcode for worker in workers if worker.exitcode]
    if failed or not all(job.part(part).is_file() for part in due):
        raise RuntimeError(
            f'a process ended with status {failed}; what is done is kept: call again to go on'
        )


def _write(job: Job, names: list[str], out: Path) -> tuple[int, dict[int, str]]:
    """The table; returns the number of its rows and what is not in it."""
    bad: dict[int, str] = {}
    count = 0

    def rows() -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
        nonlocal count
        for part in read_parts(job):
            bad.update(part.bad)
            count += len(part.ids)
            if len(part.ids):
                yield [names[number] for number in part.ids], part.features

    blocks = rows()
    first = next(blocks, None)
    if first is None:
        number, why = next(iter(bad.items()))
        raise UserError(f'none of {len(names):,} images can be read: {job.paths[number]}: {why}')
    write_table(out, itertools.chain([first], blocks))
    return count, bad


def _draw(args: Namespace, job: Job, names: list[str], channels: int) -> list[str]:
    """The sheet and the map."""
    parts = list(read_parts(job))
    ids = np.concatenate([part.ids for part in parts])
    features = np.concatenate([part.features[job.pools[0]] for part in parts])
    paths = [job.paths[number] for number in ids]
    options = stored_decoding(job.checkpoint, job.config)
    written = []
    if args.neighbours:
        if len(ids) < 2:
            raise UserError('--neighbours needs two images or more')
        sheet = _sheet(paths, features, options, channels)
        atomic_write(args.neighbours, cv2.imencode('.png', sheet[..., ::-1])[1].tobytes())
        written.append(args.neighbours)
    if args.map:
        groups = [Path(names[number]).parts[0] if '/' in names[number] else '' for number in ids]
        page = render_map(
            ', '.join(args.folders), paths, groups, features, args.method, channels, options
        )
        atomic_write(args.map, page.encode('utf-8', 'replace'))
        written.append(args.map)
    return written


def _sheet(paths: list[str], features: np.ndarray, options: dict, channels: int) -> np.ndarray:
    count = min(_ROWS, len(paths))
    queries = [number * len(paths) // count for number in range(count)]
    ids, scores = nearest(torch.from_numpy(features), queries, _COLUMNS)
    blank = np.full((SIDE, SIDE, 3), 200, np.uint8)

    def picture(number: int) -> np.ndarray:
        found = small_picture(paths[number], options, channels, SIDE)
        return blank if found is None else found

    rows = [[query, *row] for query, row in zip(queries, ids.tolist())]
    captions = [
        [Path(paths[query]).name[:18], *(f'{score:.2f}' for score in row)]
        for query, row in zip(queries, scores.tolist())
    ]
    return contact_sheet([[picture(number) for number in row] for row in rows], captions)
