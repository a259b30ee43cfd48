"""Tar shards as files to read from at any place, fetched from a URL if need be."""

import contextlib
import errno
import glob
import logging
import os
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from mae_plugin.datasets.cache import digest
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.errors import UserError
from mae_plugin.files import locked, open_to_read, read_at
from mae_plugin.logs import log

_OPEN_FILES = 64
# Seconds before a fetch that failed is tried again.
_BACK_OFF = (1.0, 4.0, 16.0)
# A shard in use says so this often, in seconds, or it would be the next to go.
_TOUCH_AFTER = 10.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Fetched = TypeVar('Fetched')


class ShardError(RuntimeError):
    """A shard cannot be had. The network's or the disk's fault: no image of it counts as bad."""


class ShardStore:
    """Reads parts of shards; fetches remote ones first. Safe to share with forked workers.

    Processes and runs may share the folder: one fetches a shard while the others wait for it, and
    one that goes while another was about to open it is fetched again.

    Args:
        urls (list[str]): Local files or URLs.
        folder (Path): Where fetched ones go.
        max_cached (int, optional): How many fetched ones are kept, beside those being fetched.

    Attributes:
        sizes (np.ndarray, optional): Bytes of each shard, once an index tells them: a fetched one
            of another size was cut off or has changed.
    """

    def __init__(self, urls: list[str], folder: Path, max_cached: int | None = None) -> None:
        self.urls = urls
        self.folder = folder
        self.max_cached = max_cached
        self.sizes: np.ndarray | None = None
        self._files: OrderedDict[int, int] = OrderedDict()
        self._touched: dict[int, float] = {}
        self._process = os.getpid()
        for url in filter(is_remote, urls[:1]):
            _gopen(url)  # imported once, before there are workers

    def __getstate__(self) -> dict:
        return self.__dict__ | dict(_files=OrderedDict())

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Bytes of a shard, at any place.

        Raises:
            BadImageError: If the shard ends before.
            OSError: If a local one cannot be read.
            ShardError: If a remote one cannot be had.
        """
        data = read_at(self._open(shard), size, offset)
        if len(data) < size:
            raise BadImageError(f'its shard ends after {len(data)} of {size} bytes')
        return data

    def path(self, shard: int) -> str:
        """Local file of a shard; a remote one is fetched if it is not there.

        Raises:
            ShardError: If it cannot be had.
        """
        url = self.urls[shard]
        if not is_remote(url):
            return url
        path = self._cached(shard)
        if not self._is_whole(shard, path):
            with locked(path.with_suffix('.lock')):
                if not self._is_whole(shard, path):
                    _persistently(url, lambda: self._fetch(shard, path))
        return str(path)

    def _cached(self, shard: int) -> Path:
        url = self.urls[shard]
        return self.folder / f'{digest(url)}-{shard_name(url)}'

    def _is_whole(self, shard: int, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return path.stat().st_size == self._told(shard, path)
        return False

    def _told(self, shard: int, path: Path) -> int:
        """The size of a shard by the index, or of its file where there is none."""
        return path.stat().st_size if self.sizes is None else int(self.sizes[shard])

    def _fetch(self, shard: int, path: Path) -> None:
        part = path.with_suffix('.part')
        try:
            with _open_url(self.urls[shard]) as stream, open(part, 'wb') as file:
                shutil.copyfileobj(stream, file)
            found, told = part.stat().st_size, self._told(shard, part)
            if found != told:
                raise OSError(f'it has {found} bytes, where the index says {told}')
            with locked(self.folder / 'eviction.lock'):
                self._evict()
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _evict(self) -> None:
        if self.max_cached is None:
            return
        fetched = sorted(self.folder.glob('*.tar'), key=lambda path: path.stat().st_mtime)
        for path in fetched[: max(0, len(fetched) + 1 - self.max_cached)]:
            with contextlib.suppress(PermissionError):  # open in a process on Windows
                path.unlink(missing_ok=True)  # whoever has it open reads on

    def _open(self, shard: int) -> int:
        if self._process != os.getpid():  # a forked worker opens its own
            self._files, self._process = OrderedDict(), os.getpid()
        if shard not in self._files:
            self._close_unused()
            self._files[shard] = self._open_anew(shard)
            self._touched.pop(shard, None)
        self._files.move_to_end(shard)
        self._touch(shard)
        return self._files[shard]

    def _open_anew(self, shard: int) -> int:
        while True:
            try:
                return open_to_read(self.path(shard))
            except FileNotFoundError:
                if not is_remote(self.urls[shard]):
                    raise  # a fetched one made room for another process's

    def _touch(self, shard: int) -> None:
        now = time.monotonic()
        if is_remote(self.urls[shard]) and now > self._touched.get(shard, 0.0) + _TOUCH_AFTER:
            with contextlib.suppress(FileNotFoundError):  # it made room, and is open here still
                os.utime(self._cached(shard))
            self._touched[shard] = now

    def _close_unused(self) -> None:
        """Close the files used longest ago, and those that went: they still take room."""
        for shard, file in list(self._files.items()):
            if len(self._files) >= _OPEN_FILES or os.fstat(file).st_nlink == 0:
                os.close(self._files.pop(shard))


def is_remote(url: str) -> bool:
    """Whether a shard must be fetched: ``pipe:...`` or ``scheme://...``."""
    return url.startswith('pipe:') or '://' in url


def expand_shards(shards: str | Sequence[str]) -> list[str]:
    """Files and URLs that folders, globs, brace patterns and lists of them stand for, sorted."""
    if not isinstance(shards, str):
        return [url for part in shards for url in expand_shards(part)]
    if os.path.isdir(shards):
        return sorted(glob.glob(os.path.join(glob.escape(shards), '*.tar')))
    if '{' in shards:
        from braceexpand import braceexpand

        return list(braceexpand(shards))
    if is_remote(shards) or os.path.exists(shards):
        return [shards]
    return sorted(glob.glob(shards))


def shard_name(url: str) -> str:
    """Name of a shard without its folder, also inside a ``pipe:`` command."""
    found = re.findall(r'[^/\s:=]+\.tar', url) if is_remote(url) else []
    return found[-1] if found else os.path.basename(url)


def fetch(url: str) -> bytes:
    """Contents of a URL.

    Raises:
        ShardError: If it cannot be had.
    """

    def attempt() -> bytes:
        with _open_url(url) as stream:
            return stream.read()

    return _persistently(url, attempt)


def _persistently(url: str, attempt: Callable[[], Fetched]) -> Fetched:
    """Try to fetch something several times."""
    name = shard_name(url)
    for pause in (*_BACK_OFF, None):
        try:
            return attempt()
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise ShardError(
                    f'no room for {name}: {error}; free space, or keep fewer shards (max_cached)'
                ) from error
            if pause is None:
                raise ShardError(
                    f'{name} could not be fetched in {len(_BACK_OFF) + 1} attempts: {error}'
                ) from error
            log(
                f'{name} could not be fetched: {error}; trying again in {pause:g} s',
                level=logging.WARNING,
            )
            time.sleep(pause)
    raise AssertionError('the last attempt returns or raises')


def _open_url(url: str) -> BinaryIO:
    return _gopen(url)(url)


def _gopen(url: str) -> Callable[[str], BinaryIO]:
    try:
        from webdataset import gopen
    except ImportError as error:
        raise UserError(f'{url} is no local file; pip install webdataset to fetch it') from error
    return gopen
