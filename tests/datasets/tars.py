"""Tar shards for tests: packed by the tool or written by hand, and datasets of them."""

import importlib.util
import io
import tarfile
from pathlib import Path

from photos import write_photos

from mae_plugin.datasets import ImageShards

PIPELINE = [dict(type='LoadRandomResizedCrop', size=32), dict(type='PackInputs')]


def shards(where, **options) -> ImageShards:
    """The dataset, with a small crop."""
    return ImageShards(where, **(dict(pipeline=PIPELINE, seed=1) | options))


def make_shards(*arguments) -> None:
    """``tools/make_shards.py``, in this process."""
    path = Path(__file__).parents[2] / 'tools' / 'make_shards.py'
    spec = importlib.util.spec_from_file_location('make_shards', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])


def pack(folder) -> Path:
    """``images``, 11 labelled photos, and ``shards`` of 4 below a folder; returns it."""
    for name, count in (('ant', 5), ('bee', 6)):
        write_photos(folder / 'images' / name, count)
    make_shards(folder / 'images', folder / 'shards', '--per-shard', '4')
    return folder


def write_tar(path, members: dict) -> str:
    """A tar of ``{name: bytes, or the target of a link}``."""
    with tarfile.open(path, 'w') as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
    return str(path)
