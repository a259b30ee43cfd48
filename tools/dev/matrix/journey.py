"""The whole way of a user of the wheel: from an empty folder, without the clone.

Pretraining on photographs, resuming, a picture, and the hosts' own scripts from that checkpoint.
"""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from matrix.venv import KEPT, installed, shell

_LAST, _HALF = 6, 3
_CHECKPOINT = f'pretrained/epoch_{_LAST}.pth'
_PRETRAIN = (
    'mae-plugin train mae_playground --data-root data/demo/train --batch-size 32 --cfg-options '
    f'train_cfg.max_epochs={_LAST} default_hooks.checkpoint.interval={_HALF}'
)
_FROM_IT = (
    f'model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint={_CHECKPOINT}'
)
# The first epoch warms up.
_SHORT = 'train_cfg.max_epochs=2 train_cfg.val_interval=2 default_hooks.checkpoint.interval=2'
# Every tensor of two checkpoints: weights, and the optimizer's state.
_COMPARE = """
import sys
import torch
from torch.utils._pytree import tree_flatten
found = []
for path in sys.argv[1:]:
    read = torch.load(path, weights_only=True)
    found.append(tree_flatten([read['state_dict'], read['optimizer']]))
(a, shape_of_a), (b, shape_of_b) = found
assert shape_of_a == shape_of_b
pairs = [(x, y) for x, y in zip(a, b) if torch.is_tensor(x)]
assert all(torch.equal(x, y) for x, y in pairs)
print(f'{len(pairs)} tensors are equal bit for bit')
"""
# The playground's encoder in the classifier's config: an inheriting config of a user.
_CLASSIFIER = f"""
_base_ = __import__('mae_plugin').config_path('playground/finetune_classes')
model = dict(
    backbone=dict(
        arch=dict(embed_dims=192, num_layers=6, num_heads=3),
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='{_CHECKPOINT}'),
    ),
    neck=dict(dims=192),
    head=dict(in_channels=192),
)
"""


@dataclass(frozen=True)
class Step:
    """One command of a user.

    Attributes:
        name: What it does.
        command: As typed; ``{hosts}`` stands for the folder of installed packages.
        leaves: A file that must be there afterwards.
        needs: Import name of the host that it uses.
        writes: Files written before, as an editor would: name and text.
        prints: Whether its last line is the result.
    """

    name: str
    command: str
    leaves: str = '.'
    needs: str = ''
    writes: tuple[tuple[str, str], ...] = ()
    prints: bool = False


def _host(module: str, config: str, options: str = '') -> tuple[Step, Step]:
    """A host's own script, and the same through ``mim``."""
    train = f'{config} --work-dir {{run}} --cfg-options {_SHORT} {options}'.strip()
    own, mim = f'{module}_own', f'{module}_mim'
    return (
        Step(
            f"{module}'s own tools/train.py",
            f'python {{hosts}}/{module}/.mim/tools/train.py {train.format(run=own)}',
            leaves=f'{own}/epoch_2.pth',
            needs=module,
        ),
        Step(
            f'the same config through `mim train {module}`',
            f'mim train {module} {train.format(run=mim)} --gpus 0',
            leaves=f'{mim}/epoch_2.pth',
            needs=module,
        ),
    )


STEPS = (
    Step('photographs', 'mae-plugin demo-data', 'data/demo/train'),
    Step('pretraining', f'{_PRETRAIN} --work-dir pretrained', _CHECKPOINT),
    Step(
        'resumed halfway',
        f'mkdir resumed && cp pretrained/epoch_{_HALF}.pth resumed && '
        f'{_PRETRAIN} --work-dir resumed --resume',
        f'resumed/epoch_{_LAST}.pth',
    ),
    Step(
        'resumed is uninterrupted',
        f'python compare.py {_CHECKPOINT} resumed/epoch_{_LAST}.pth',
        writes=(('compare.py', _COMPARE),),
        prints=True,
    ),
    Step(
        'a picture',
        f'mae-plugin visualize {_CHECKPOINT} data/demo/val/* --out picture.png',
        'picture.png',
    ),
    Step(
        '`mim train mae_plugin`',
        'mim train mae_plugin mae_demo.py --gpus 0 --work-dir demo --cfg-options '
        'train_cfg.max_epochs=2 param_scheduler.0.end=1 param_scheduler.1.begin=1',
        'demo/epoch_2.pth',
    ),
    Step(
        'the playground',
        'mae-plugin playground-data --pretrain 50 --train 80 --val 16',
        'data/playground/annotations/instances_val.json',
    ),
    Step('a detector of your own', 'mae-plugin copy-config mask-rcnn_playground det.py', 'det.py'),
    *_host('mmdet', 'det.py', _FROM_IT),
    Step('a segmentor of your own', 'mae-plugin copy-config upernet_playground seg.py', 'seg.py'),
    *_host('mmseg', 'seg.py', _FROM_IT),
    Step(
        'labelled pictures',
        'mae-plugin class-folders --train 160 --val 40',
        'data/classes/val',
    ),
    Step('a classifier of your own', 'cat cls.py', 'cls.py', writes=(('cls.py', _CLASSIFIER),)),
    *_host('mmpretrain', 'cls.py'),
)


def take_journey(folder: Path, wheel: Path) -> list[dict]:
    """Install the wheel and take every step that this environment can; what came of each."""
    place = folder / 'journey'
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    told = [_install(folder, wheel, place)]
    (packages,) = folder.glob('lib/python*/site-packages')
    for number, step in enumerate(STEPS, 1):
        if step.needs and not (packages / step.needs).is_dir():
            continue
        for name, text in step.writes:
            (place / name).write_text(text.lstrip(), encoding='utf-8')
        command = step.command.replace('{hosts}', str(packages))
        told.append(_take(folder, place, step, command, place.parent / f'journey_{number}.log'))
        print(f'{step.name}: {told[-1]["told"]}', flush=True)
    return told


def _install(folder: Path, wheel: Path, place: Path) -> dict:
    shell(folder, 'pip uninstall -q -y mae_plugin', place)
    before, start = installed(folder), time.monotonic()
    shell(folder, f'pip install -q {wheel}', place)
    after, seconds = installed(folder), round(time.monotonic() - start)
    moved = {k: (before.get(k), after.get(k)) for k in KEPT if before.get(k) != after.get(k)}
    same = ', '.join(f'{name} {after[name]}' for name in KEPT if name in after)
    return dict(
        name='install',
        command=f'pip install {wheel.name}',
        seconds=seconds,
        told=f'FAILED: moved {moved}' if moved else f'as before: {same}',
    )


def _take(folder: Path, place: Path, step: Step, command: str, log: Path) -> dict:
    start = time.monotonic()
    try:
        printed = shell(folder, command, place, log)
    except subprocess.CalledProcessError as error:
        verdict = f'FAILED: {_last_line(error.output)}'
    else:
        verdict = 'done' if (place / step.leaves).exists() else f'FAILED: no {step.leaves}'
        if step.prints:
            verdict = _last_line(printed)
    return dict(
        name=step.name,
        command=step.command.replace('{hosts}/', '.../'),
        seconds=round(time.monotonic() - start),
        told=verdict,
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ['nothing printed'])[-1][:200]
