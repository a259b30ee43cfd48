"""The image files below a folder, listed or read from a cached index."""

import contextlib
import errno
import logging
import os
import time
from array import array
from collections import Counter
from pathlib import Path

import numpy as np

from mae_plugin.datasets.array_file import load_arrays, save_arrays
from mae_plugin.datasets.path_list import PathList
from mae_plugin.files import locked
from mae_plugin.logs import log

# A directory that changed this shortly before it was listed may change again unnoticed.
_SETTLED_NS = 2_000_000_000
_MAX_SUFFIXES = 100  # of files left out: numbers after a dot look like suffixes too
_ARRAYS = (
    'names', 'offsets', 'directories', 'directory_offsets', 'mtimes', 'settled', 'suffixes',
    'left_out', 'left_out_counts',
)  # fmt: skip


class FolderListing:
    """All files with given suffixes below a folder, in the order of their names at each level.

    A folder that ends in ``.zarr`` is one file where that is wanted. Symbolic links are followed;
    one that leads back to a folder it lies in is not. Hidden files and folders (a leading dot)
    are skipped; so are folders that cannot be read, with a warning.

    Attributes:
        files (PathList): Paths relative to the root.
        directories (PathList): All folders that were listed, the root as ''.
        mtimes (np.ndarray): Their modification times in nanoseconds, (D,) int64.
        settled (bool): Whether all of them had stood still for a while when they were listed, and
            could be.
        left_out (dict[str, int]): Number of files with other suffixes, by suffix in lower case.
    """

    def __init__(
        self,
        files: PathList,
        directories: PathList,
        mtimes: np.ndarray,
        settled: bool,
        left_out: dict[str, int],
    ) -> None:
        self.files = files
        self.directories = directories
        self.mtimes = mtimes
        self.settled = settled
        self.left_out = left_out

    @classmethod
    def scan(cls, root: str, suffixes: tuple[str, ...]) -> 'FolderListing':
        """List a folder.

        Raises:
            OSError: If the root itself cannot be read.
        """
        wanted = tuple(os.fsencode(suffix.lower()) for suffix in suffixes)
        names, offsets = bytearray(), array('q', [0])
        directories, mtimes, unreadable = [], array('q'), []
        others: Counter[bytes] = Counter()
        begin = time.time_ns()

        def walk(directory: bytes, prefix: bytes, parents: frozenset) -> None:
            found, folders = [], set()
            try:
                status = os.stat(directory)
                identity = status.st_dev, status.st_ino
                if identity in parents:
                    return
                with os.scandir(directory) as entries:
                    for entry in entries:
                        name = entry.name
                        if name.startswith(b'.'):
                            continue
                        is_array = name.lower().endswith(b'.zarr') and b'.zarr' in wanted
                        if is_folder(entry) and not is_array:
                            folders.add(name)
                            found.append(name)
                        elif name.lower().endswith(wanted):
                            found.append(name)
                        else:
                            others[os.path.splitext(name)[1].lower()] += 1
            except (PermissionError, FileNotFoundError) as error:
                if not prefix:
                    raise
                unreadable.append(f'{os.fsdecode(directory)} ({error.strerror})')
                return
            directories.append(os.fsdecode(prefix))
            mtimes.append(status.st_mtime_ns)
            found.sort()
            for name in found:
                if name in folders:
                    walk(os.path.join(directory, name), prefix + name + b'/', parents | {identity})
                else:
                    names.extend(prefix + name)
                    offsets.append(len(names))

        walk(os.fsencode(root), b'', frozenset())
        if unreadable:
            log(
                f'{len(unreadable)} folders below {root} cannot be read and are left out, the '
                f'first: {unreadable[0]}',
                level=logging.WARNING,
            )
        return cls(
            PathList(np.frombuffer(bytes(names), np.uint8), np.frombuffer(offsets, np.int64)),
            PathList.of(directories),
            np.frombuffer(mtimes, np.int64),
            max(mtimes) < begin - _SETTLED_NS and not unreadable,
            {
                suffix.decode('utf-8', 'backslashreplace'): count
                for suffix, count in others.most_common(_MAX_SUFFIXES)
            },
        )

    def is_current(self, root: str) -> bool:
        """Whether no folder has changed since: one ``stat`` per folder, none per file."""
        if not self.settled:
            return False
        for directory, mtime in zip(self.directories, self.mtimes, strict=True):
            try:
                if os.stat(os.path.join(root, directory)).st_mtime_ns != mtime:
                    return False
            except OSError:
                return False
        return True

    def save(self, path: Path, suffixes: tuple[str, ...]) -> None:
        """Write the index."""
        arrays = dict(
            names=self.files.names,
            offsets=self.files.offsets,
            directories=self.directories.names,
            directory_offsets=self.directories.offsets,
            mtimes=self.mtimes,
            settled=np.array(self.settled),
            suffixes=np.array(' '.join(suffixes)),
            left_out=np.array(list(self.left_out), dtype=np.str_),
            left_out_counts=np.array(list(self.left_out.values()), np.int64),
        )
        save_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path, suffixes: tuple[str, ...]) -> 'FolderListing | None':
        """Read an index; None if it is missing, damaged or of other suffixes."""
        try:
            stored = load_arrays(path, _ARRAYS)
        except ValueError:
            return None
        if str(stored['suffixes']) != ' '.join(suffixes):
            return None
        return cls(
            PathList(stored['names'], stored['offsets']),
            PathList(stored['directories'], stored['directory_offsets']),
            stored['mtimes'],
            bool(stored['settled']),
            dict(
                zip(stored['left_out'].tolist(), stored['left_out_counts'].tolist(), strict=True)
            ),
        )


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError as error:
        # A folder that may not even be looked at counts: listing it tells what is wrong.
        return error.errno != errno.ELOOP


def list_folder(root: str, suffixes: tuple[str, ...], cache: Path | None) -> FolderListing:
    """List the files below ``root``, from ``cache`` if it is up to date; else scanned and cached.

    Processes that ask for the same cache at once wait for the first one's scan. A cache that
    cannot be written is done without.

    Args:
        root (str): Folder.
        suffixes (tuple[str, ...]): Endings of the files wanted, in lower case.
        cache (Path, optional): Index file.
    """
    if cache is None:
        return FolderListing.scan(root, suffixes)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(locked(cache.with_suffix('.lock')))
        listing = FolderListing.load(cache, suffixes)
        if listing is None or not listing.is_current(root):
            listing = FolderListing.scan(root, suffixes)
            with contextlib.suppress(OSError):
                listing.save(cache, suffixes)
        return listing
