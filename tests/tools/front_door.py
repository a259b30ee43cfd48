"""Call the tools as a user does, in this process: importing torch anew costs seconds."""

import importlib
import itertools
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
_runs = itertools.count()


def run_tool(monkeypatch, name, *args):
    """Run ``tools/NAME.py ARGS`` in this process; it may raise SystemExit."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    monkeypatch.setattr(sys, 'argv', [f'tools/{name}.py', *map(str, args)])
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()


def train(monkeypatch, config, data_root, work_dir, *args, options=()):
    """``tools/train.py``, with an experiment name of its own: mmengine keeps one of each."""
    run_tool(
        monkeypatch, 'train', config, '--data-root', data_root, '--work-dir', work_dir, *args,
        '--cfg-options', f'experiment_name=run{next(_runs)}', *options,
    )  # fmt: skip


def write_images(folder, count=4, size=(40, 40), channels=3, ending='.png', seed=0):
    """Noise over gradients, a function of the seed; 12 channels as .npy or .tif."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        noise = generator.integers(0, 60, (*size, channels))
        ramp = np.linspace(0, 190, size[1])[None, :, None]
        image = (noise + ramp).astype(np.uint8)
        path = folder / f'image{number}{ending}'
        if ending == '.npy':
            np.save(path, image)
        elif ending == '.tif':
            tifffile.imwrite(path, image.transpose(2, 0, 1), photometric='minisblack')
        else:
            Image.fromarray(image if channels > 1 else image[..., 0]).save(path)
    return folder


def tiny_config(path, img_size=(16, 16), patch_size=4, channels=3, batch_size=2, extra=''):
    """The front-door config as a delta of a size that a test can train."""
    path.write_text(f"""
_base_ = '{ROOT}/configs/mae_vit-b_pretrain.py'
shape = dict(img_size={img_size}, patch_size={patch_size})
model = dict(
    data_preprocessor=dict(mean=[100.0] * {channels}, std=[60.0] * {channels}),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, num_layers=1, num_heads=2),
        in_channels={channels},
        **shape,
    ),
    decoder=dict(in_dims=16, embed_dims=16, depth=1, num_heads=2, **shape),
    head=dict(in_dims=16, target=dict(patch_size={patch_size}, in_channels={channels})),
)
pipeline = [
    dict(type='LoadRandomResizedCrop', size={img_size}, channels={channels}),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size={batch_size}, num_workers=0, persistent_workers=False,
    dataset=dict(pipeline=pipeline, index_cache=False),
)
test_dataloader = dict(
    batch_size=2, num_workers=0,
    dataset=dict(
        pipeline=[
            dict(type='LoadResizeCenterCrop', size={img_size}, channels={channels}),
            dict(type='PackInputs'),
        ],
        index_cache=False,
    ),
)
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
log_level = 'WARNING'
{extra}
""")
    return path
