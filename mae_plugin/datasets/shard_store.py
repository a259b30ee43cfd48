"""Tar shards as files to read from at any place, fetched from a URL if need be."""

import contextlib
import fcntl
import glob
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from mae_plugin.datasets.path_list import digest
from mae_plugin.datasets.raw_image import BadImageError

_OPEN_FILES = 64


class ShardStore:
    """Reads parts of shards; fetches remote ones first. Safe to share with forked workers.

    Args:
        urls (list[str]): Local files or URLs.
        folder (Path): Where fetched ones go.
        max_cached (int, optional): How many fetched ones are kept.
    """

    def __init__(self, urls: list[str], folder: Path, max_cached: int | None = None) -> None:
        self.urls = urls
        self.folder = folder
        self.max_cached = max_cached
        self._files: OrderedDict[int, int] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict:
        return self.__dict__ | dict(_files=OrderedDict())

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Bytes of a shard, at any place.

        Raises:
            BadImageError: If the shard ends before.
            OSError: If it cannot be had.
        """
        data = os.pread(self._open(shard), size, offset)
        if len(data) < size:
            raise BadImageError(f'its shard ends after {len(data)} of {size} bytes')
        return data

    def path(self, shard: int) -> str:
        """Local file of a shard; a remote one is fetched if it is not there."""
        url = self.urls[shard]
        if not is_remote(url):
            return url
        path = self.folder / f'{digest(url)}-{shard_name(url)}'
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(path.with_suffix('.lock'), 'w') as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # one process fetches, the others wait
                if not path.exists():
                    self._evict()
                    fetch_to(url, path)
        return str(path)

    def _open(self, shard: int) -> int:
        if self._process != os.getpid():  # a forked worker opens its own
            self._files, self._process = OrderedDict(), os.getpid()
        if shard in self._files:
            self._files.move_to_end(shard)
        else:
            path = self.path(shard)
            self._files[shard] = os.open(path, os.O_RDONLY)
            if is_remote(self.urls[shard]):
                with contextlib.suppress(OSError):
                    os.utime(path)
            if len(self._files) > _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
        return self._files[shard]

    def _evict(self) -> None:
        if self.max_cached is None:
            return
        fetched = sorted(self.folder.glob('*.tar'), key=lambda path: path.stat().st_mtime)
        for path in fetched[: max(0, len(fetched) + 1 - self.max_cached)]:
            with contextlib.suppress(OSError):
                path.unlink()  # whoever has it open reads on


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
        OSError: If it cannot be had.
    """
    with _open_url(url) as stream:
        return stream.read()


def fetch_to(url: str, path: Path) -> None:
    """Write a URL's contents to a file, all of them or nothing.

    Raises:
        OSError: If it cannot be had.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix='.part', delete=False) as file:
        try:
            with _open_url(url) as stream:
                shutil.copyfileobj(stream, file)
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _open_url(url: str) -> BinaryIO:
    try:
        from webdataset import gopen
    except ImportError as error:
        raise ValueError(f'{url} is no local file; pip install webdataset to fetch it') from error
    return gopen(url)
