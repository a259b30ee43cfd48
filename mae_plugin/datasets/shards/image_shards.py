"""Images in tar shards, read at random so that a run resumes at any sample."""

import contextlib
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_plugin.datasets.cache import cache_folder, digest
from mae_plugin.datasets.image_dataset import ImageDataset
from mae_plugin.datasets.image_folder import EXTENSIONS
from mae_plugin.datasets.shards.shard_index import ShardIndex
from mae_plugin.datasets.shards.shard_store import (
    ShardStore,
    expand_shards,
    fetch,
    is_remote,
    shard_name,
)
from mae_plugin.errors import UserError
from mae_plugin.files import locked
from mae_plugin.logs import log
from mae_plugin.registry import DATASETS


@DATASETS.register_module()
class ImageShards(ImageDataset):
    """Images in webdataset's tar shards, local or behind a URL.

    An index of every image's place allows any order, so StreamSampler's laws and exact resuming
    hold as for a folder. A pass goes through the shards in random order, ``window`` of them at a
    time with their images shuffled together: reading stays within a few files.

    Remote shards (``https:``, ``s3:`` through ``pipe:aws s3 cp ... -`` and whatever else
    webdataset opens) are fetched whole into ``cache_dir`` when first needed, which must take less
    than the loop's ``worker_timeout``. A fetch that fails is tried again, and then ends the run:
    it is no image's fault.

    Args:
        shards (str | Sequence[str]): Folder of ``.tar`` files, glob or brace pattern
            (``'https://host/train-{000..127}.tar'``), or a list of these.
        index (str, optional): The index that tools/make_shards.py wrote, a file or a URL. Defaults
            to ``index.npz`` beside local shards; without one, the shards are scanned once and the
            index is kept in ``cache_dir``: remote ones are all fetched for it.
        labels (bool | str): 'auto' gives labels if every image has one (``.cls`` members).
        classes (Sequence[str], optional): Class names in label order. Defaults to the lines of
            ``classes.txt`` beside local shards.
        window (int): Shards shuffled together.
        cache_dir (str, optional): Folder for fetched shards and made indices. Defaults to
            ``$XDG_CACHE_HOME/mae_plugin/shards``.
        max_cached (int, optional): Fetched shards kept, beside those being fetched; the ones
            unused for longest go first. Should exceed ``window`` times the runs on this machine.
            None keeps all.
        pipeline: As for :class:`ImageDataset`.
        seed: As for :class:`ImageDataset`.
        bad_images: As for :class:`ImageDataset`.

    Raises:
        UserError: If there is no shard or no image, a shard is damaged or points outside its
            folder, or the labels cannot be had.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        index: str | None = None,
        labels: bool | str = 'auto',
        classes: Sequence[str] | None = None,
        window: int = 16,
        cache_dir: str | None = None,
        max_cached: int | None = None,
        pipeline: Sequence = (),
        seed: int | None = None,
        bad_images: dict | None = None,
    ) -> None:
        super().__init__(pipeline, seed, bad_images)
        if window < 1:
            raise UserError(f'window={window} must be at least 1')
        self.window = window
        self.urls = expand_shards(shards)
        if not self.urls:
            raise UserError(f'no .tar shard at {shards!r}; write some with tools/make_shards.py')
        folder = Path(cache_dir) if cache_dir else cache_folder() / 'shards'
        self._store = ShardStore(self.urls, folder, max_cached)
        self.index = self._find_index(index, folder)
        self._store.sizes = self.index.sizes
        if not len(self.index.names):
            raise UserError(f'the shards {shards!r} hold no image ({", ".join(EXTENSIONS)})')
        complete = bool((self.index.label >= 0).all())
        if labels is True and not complete:
            raise UserError(f'some images in {shards!r} have no .cls label; set labels=False')
        self.labelled = complete and bool(labels)
        if self.labelled:
            names = classes or _read_classes(self.urls[0])
            self.classes = tuple(names) if names else None

    def __len__(self) -> int:
        return len(self.index.names)

    def path(self, index: int) -> str:
        """Shard and member of one image."""
        return f'{self.urls[self.index.shard_of[index]]}/{self.index.names[index]}'

    def name(self, index: int) -> str:
        """File name of the shard, and member, of one image."""
        shard = shard_name(self.urls[self.index.shard_of[index]])
        return f'{shard}/{self.index.names[index]}'

    def locate(self, index: int) -> dict:
        """Name, bytes and label of one image.

        Raises:
            BadImageError: If its shard ends before it.
            OSError: If its local shard cannot be read.
            ShardError: If its remote shard cannot be had.
        """
        offset, size = map(int, self.index.data[index])
        data = self._store.read(int(self.index.shard_of[index]), offset, size)
        located: dict[str, Any] = dict(img_path=self.path(index), img_bytes=data)
        if self.labelled:
            located['gt_label'] = int(self.index.label[index])
        return located

    def permutation(self, rng: np.random.Generator) -> np.ndarray:
        """The order of one pass, (N,): used by StreamSampler instead of a uniform one."""
        bounds = np.searchsorted(self.index.shard_of, np.arange(len(self.urls) + 1))
        order = rng.permutation(len(self.urls))
        parts = []
        for start in range(0, len(order), self.window):
            shards = order[start : start + self.window]
            part = np.concatenate([np.arange(bounds[s], bounds[s + 1]) for s in shards])
            parts.append(rng.permutation(part))
        return np.concatenate(parts)

    def _find_index(self, index: str | None, folder: Path) -> ShardIndex:
        if index is not None:
            found = ShardIndex.load(io.BytesIO(fetch(index)) if is_remote(index) else index)
            if list(found.shards) != [shard_name(url) for url in self.urls]:
                raise UserError(f'index {index} is of other shards than {self.urls[0]} ...')
            return found
        made = folder / f'index-{digest(*self.urls)}.npz'
        if any(map(is_remote, self.urls)):
            return self._remote_index(made)
        names = [shard_name(url) for url in self.urls]
        for path in (Path(self.urls[0]).with_name('index.npz'), made):
            with contextlib.suppress(ValueError, OSError):
                found = ShardIndex.load(path)
                if found.matches(names, self.urls) and not _is_older(path, self.urls):
                    return found
        found = ShardIndex.scan(self.urls, EXTENSIONS, names)
        with contextlib.suppress(OSError):
            found.save(made)
        return found

    def _remote_index(self, made: Path) -> ShardIndex:
        """The index made before, without fetching anything; or fetch all shards in turn."""
        names = [shard_name(url) for url in self.urls]
        with locked(made.with_suffix('.lock')):  # one process of a machine makes it
            with contextlib.suppress(ValueError, OSError):
                found = ShardIndex.load(made)
                if list(found.shards) == names:
                    return found
            log(
                f'no index of {len(names)} remote shards: fetching all of them once to make it; '
                'with index=... (tools/make_shards.py wrote index.npz) that is not needed',
                level=logging.WARNING,
            )
            files = (self._store.path(number) for number in range(len(names)))
            found = ShardIndex.scan(files, EXTENSIONS, names)
            found.save(made)
        return found


def _is_older(index: Path, files: list[str]) -> bool:
    """Whether a shard was written after the index; tar's padding can hide that from sizes."""
    return index.stat().st_mtime_ns < max(os.stat(file).st_mtime_ns for file in files)


def _read_classes(shard: str) -> tuple[str, ...] | None:
    path = Path(shard).with_name('classes.txt')
    return tuple(path.read_text(encoding='utf-8').splitlines()) if path.is_file() else None
