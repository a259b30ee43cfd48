"""Train with ``--log wandb,aim,clearml`` and read the run back, as each program keeps it.

    make tracker-check

TensorBoard and MLflow are in the test suite; these three are large, and have an environment of
their own, ``.venv-trackers``. Nothing is sent anywhere: W&B and ClearML are offline, Aim is local.
Of each, the curve of the loss must be that of the run's own ``scalars.json``, and the
reconstruction must be there. Exit status 1 with one line if something is not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
_TRAIN = (
    *('mae_demo', '--data-root', 'photos', '--batch-size', '4', '--log', 'wandb,aim,clearml'),
    *('--cfg-options', 'train_cfg.max_epochs=3', 'train_dataloader.sampler.repeats=1'),
    *('default_hooks.logger.interval=1',),
)
Curve = dict[int, float]


class TrackerError(RuntimeError):
    """Something is not where its program looks for it."""


def main() -> None:
    """Train, read, compare."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    with tempfile.TemporaryDirectory(prefix='mae_plugin_trackers_') as name:
        folder = Path(name)
        try:
            losses = train(folder)
            for package, read in (('wandb', wandb), ('aim', aim), ('clearml', clearml)):
                curve, size = read(folder)
                check(package, curve, losses)
                print(f'{package} {version(package)}: {len(curve)} losses, picture of {size} px')
        except TrackerError as error:
            sys.exit(str(error))


def train(folder: Path) -> Curve:
    """A run of nine iterations; the losses that it kept itself.

    Raises:
        TrackerError: It failed.
    """
    (folder / 'photos').mkdir()
    draw = np.random.default_rng(0).integers
    for number in range(12):
        colours = Image.fromarray(draw(0, 255, (6, 8, 3), np.uint8))
        colours.resize((160, 120), Image.Resampling.BICUBIC).save(folder / f'photos/{number}.jpg')
    environment = dict(
        os.environ,
        PYTHONPATH=str(ROOT),
        WANDB_MODE='offline',
        CLEARML_OFFLINE_MODE='1',
        CLEARML_CACHE_DIR=str(folder / 'clearml'),
    )
    command = [sys.executable, '-m', 'mae_plugin', 'train', *_TRAIN]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise TrackerError(done.stdout[-4000:])
    (lines,) = (folder / 'work_dirs/mae_demo').glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in lines.read_text(encoding='utf-8').splitlines()]
    return {row['step']: row['loss'] for row in rows if 'loss' in row}


def check(package: str, curve: Curve, losses: Curve) -> None:
    """Compare curves.

    Raises:
        TrackerError: They differ.
    """
    same = curve.keys() == losses.keys() and np.allclose(
        [curve[step] for step in losses], list(losses.values())
    )
    if not same:
        raise TrackerError(f'{package} has the losses {curve}, the run {losses}')


def wandb(folder: Path) -> tuple[Curve, str]:
    """From W&B's file, by its own messages: it has no reader of runs that were not uploaded."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob('work_dirs/mae_demo/*/vis_data/wandb/offline-run-*/*.wandb')
    curve, picture = {}, None
    for content in leveldb_records(path.read_bytes()):
        record = Record.FromString(content)
        row = {
            item.key or '/'.join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        if 'loss' in row:
            curve[row['iter']] = row['loss']
        if 'reconstruction/path' in row:
            picture = row
    if picture is None or picture['iter'] != max(curve):
        raise TrackerError(f'wandb has no reconstruction of the last iteration: {picture}')
    with Image.open(path.parent / 'files' / picture['reconstruction/path']) as image:
        return curve, '{} x {}'.format(*image.size)


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB, after W&B's header of 7 bytes.

    Blocks of 32 KiB; each part of a record has a checksum (4 bytes), a length (2) and a kind (1):
    1 whole, 2 first, 3 middle, 4 last.
    """
    place, record = 7, b''
    while place < len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], 'little'), content[place + 6]
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b''


def aim(folder: Path) -> tuple[Curve, str]:
    """By Aim's queries."""
    from aim import Repo

    repo = Repo.from_path(str(folder))
    found = repo.query_metrics("metric.name == 'loss'", report_mode=0).iter_runs()
    (curve,) = [
        {step: value for step, (value, *_) in metric.data.items()}
        for run in found
        for metric in run
    ]
    found = repo.query_images("images.name == 'reconstruction'", report_mode=0).iter_runs()
    pictures = [
        (step, image.to_pil_image())
        for run in found
        for images in run
        for step, (image, *_) in images.data.items()
    ]
    if [step for step, _ in pictures] != [max(curve)]:
        raise TrackerError(f'aim has no reconstruction of the last iteration: {pictures}')
    return curve, '{} x {}'.format(*pictures[0][1].size)


def clearml(folder: Path) -> tuple[Curve, str]:
    """From the session that ClearML would upload."""
    (path,) = folder.glob('clearml/offline/*.zip')
    with zipfile.ZipFile(path) as session:
        lines = session.read('metrics.jsonl').decode().splitlines()
        events = [event for line in lines for event in json.loads(line)]
        curve = {event['iter']: event['value'] for event in events if event['metric'] == 'loss'}
        images = [event for event in events if event['metric'] == 'reconstruction']
        if [event['iter'] for event in images] != [max(curve)]:
            raise TrackerError(f'clearml has no reconstruction of the last iteration: {images}')
        with Image.open(BytesIO(session.read(f'data/{images[0]["key"]}'))) as image:
            return curve, '{} x {}'.format(*image.size)


if __name__ == '__main__':
    main()
