"""The machine, the card, and which libraries are there; what cannot be imported is named."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

# Import name, distributions that bring it, and what it is for.
LIBRARIES = {
    'torch': (('torch',), 'everything'),
    'numpy': (('numpy',), 'everything'),
    'mmengine': (('onedl-mmengine', 'mmengine'), 'everything'),
    'mmcv': (('onedl-mmcv', 'mmcv'), 'everything'),
    'cv2': (('opencv-python-headless', 'opencv-python'), 'everything'),
    'simplejpeg': (('simplejpeg',), 'reading JPEGs'),
    'imagecodecs': (('imagecodecs',), 'reading TIFFs'),
    'skimage': (('scikit-image',), 'photographs'),
    'torchvision': (('torchvision',), 'decoding on the GPU; timm and mmpretrain need it'),
    'mmpretrain': (('onedl-mmpretrain', 'mmpretrain'), 'peer'),
    'transformers': (('transformers',), 'peer'),
    'timm': (('timm',), 'peer, the official code'),
}


def facts() -> dict[str, Any]:
    """What the numbers are measured on."""
    import torch

    found: dict[str, Any] = {
        'GPU': 'none',
        'processor': _processor(),
        'cores': len(os.sched_getaffinity(0)),
        'Python': platform.python_version(),
        'torch': torch.__version__,
        'CUDA': str(torch.version.cuda),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found['GPU'] = f'{properties.name}, {properties.total_memory / 2**30:.0f} GiB'
        found['multiprocessors'] = properties.multi_processor_count
    return found


def libraries() -> list[dict[str, str]]:
    """A row for each library: its version, or that it is absent."""
    rows = []
    for name, (distributions, purpose) in LIBRARIES.items():
        there = importlib.util.find_spec(name) is not None
        version = _version(distributions) if there else 'absent'
        rows.append({'library': name, 'version': version, 'for': purpose})
    return rows


def _version(distributions: tuple[str, ...]) -> str:
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return 'there, version unknown'


def _processor() -> str:
    for line in Path('/proc/cpuinfo').read_text(errors='replace').splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()


def usable_peers() -> tuple[dict[str, Callable], list[dict[str, str]]]:
    """The MAEs of other projects that can be imported here.

    Returns:
        Name to builder, as in :mod:`benchmarks.contestants`; and a row for each other one that
        says why not.
    """
    from benchmarks.contestants import hugging_face, mmpretrain_mae, official

    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

    keep_torchvision_importable()  # they import it, and its wheel may not match torch
    peers: dict[str, tuple[str, Callable]] = {
        'mmpretrain MAE': ('mmpretrain.models', mmpretrain_mae),
        'HF ViTMAE': ('transformers.models.vit_mae.modeling_vit_mae', hugging_face),
        'official code on timm': ('timm.models.vision_transformer', official),
    }
    usable, absent = {}, []
    for name, (module, build) in peers.items():
        if importlib.util.find_spec(module.partition('.')[0]) is None:
            absent.append({'peer': name, 'absent because': 'not installed'})
            continue
        try:
            importlib.import_module(module)
        except Exception as error:
            line = str(error).strip().splitlines()[:1]
            absent.append({'peer': name, 'absent because': f'does not import: {" ".join(line)}'})
            print(f'{name}: {error!r}', file=sys.stderr)
        else:
            usable[name] = build
    return usable, absent
