"""The headers of a folder's images, each read once and kept for the next start."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mae_plugin.datasets.cache import cache_folder, digest
from mae_plugin.datasets.decoding.header import Header, read_header
from mae_plugin.files import atomic_write

_SAVE_SECONDS = 15
_VERSION = 1


class HeaderCache:
    """Headers by path, valid while a file keeps its size and time of change.

    The file is written whole, every 15 seconds too, so that an interrupted reading goes on.

    Args:
        file (Path): JSON file; a missing or damaged one is an empty cache.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known: dict[str, list] = {}
        with contextlib.suppress(OSError, ValueError):
            stored = json.loads(file.read_bytes())
            if stored['version'] == _VERSION:
                self._known = stored['headers']

    @classmethod
    def of(cls, root: str) -> 'HeaderCache':
        """The cache of a folder, in ``$XDG_CACHE_HOME/mae_plugin``."""
        return cls(cache_folder() / f'headers-{digest(os.path.realpath(root))}.json')

    def read(
        self,
        root: str,
        paths: Sequence[str],
        read: Callable[[list[str]], Iterable[Header]] | None = None,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Header]:
        """Headers of files in their order.

        Args:
            root: Folder that ``paths`` are relative to.
            paths: The files.
            read: Reads many headers in order, such as a pool of processes; one by one if None.
            progress: Told how many are known, now and then.
        """
        stamps = [_stamp(os.path.join(root, path)) for path in paths]
        missing = [
            number
            for number, (path, stamp) in enumerate(zip(paths, stamps, strict=True))
            if self._known.get(path, [None])[0] != stamp
        ]
        progress(len(paths) - len(missing))
        full = [os.path.join(root, paths[number]) for number in missing]
        found = map(read_header, full) if read is None else read(full)
        saved = time.monotonic()
        for done, (number, header) in enumerate(zip(missing, found), 1):
            self._known[paths[number]] = [stamps[number], *header]
            if done % 256 == 0:
                progress(len(paths) - len(missing) + done)
                if time.monotonic() - saved > _SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
        progress(len(paths))
        if missing:
            self.save()
        return [Header(*self._known[path][1:]) for path in paths]

    def save(self) -> None:
        """Write the file; a cache that cannot be written is done without."""
        text = json.dumps(dict(version=_VERSION, headers=self._known), separators=(',', ':'))
        with contextlib.suppress(OSError):
            atomic_write(self.file, text.encode('utf-8', 'surrogateescape'))


def _stamp(path: str) -> list[int]:
    """Size and time of change of a file; an absent one has none."""
    try:
        status = os.stat(path)
    except OSError:
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]
