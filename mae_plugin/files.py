"""Files that are whole or absent, held by one process at a time, on every operating system."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from mae_plugin.errors import UserError

ARCHIVES = ('.zip', '.gz', '.tgz', '.bz2', '.xz', '.7z', '.rar', '.zst')


def atomic_write(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one, whole.

    The parts go to a hidden file in the same folder, which is flushed to the disk and renamed;
    the rename itself is flushed with the folder.

    Raises:
        OSError: The disk is full or failing; says so, and the old file is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open('wb') as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            size = sum(len(part) for part in parts)
            raise OSError(
                error.errno,
                f'no room for {path} ({size / 2**20:.1f} MiB): {error.strerror}. Files written '
                'before are intact; free space and run again with --resume auto',
            ) from error
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A file to write in its place, which becomes ``path`` when it is whole.

    For what a library writes, or what is too large for :func:`atomic_write`. An error leaves the
    old file untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        with temporary.open('rb+') as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def temporary_name(name: str) -> str:
    """The hidden name under which ``name`` is written; matches ``.*.writing``."""
    return f'.{name}.writing'


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk: what was created, renamed or removed there.

    Does nothing on Windows, which opens no folders.
    """
    if not hasattr(os, 'O_DIRECTORY'):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold a lock that is a file; waits for whoever holds it, whose death releases it.

    Args:
        path: The lock's file, made with its folders where missing, and left there.

    Raises:
        OSError: The file cannot be made, or its disk has no locks.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(errno.ENOTSUP, f'{path}: the disk has no locks') from error
    try:
        yield
    finally:
        lock.release()


def open_to_read(path: str | Path) -> int:
    """Open a file for :func:`read_at`; returns its descriptor."""
    return os.open(path, os.O_RDONLY | getattr(os, 'O_BINARY', 0))


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read ``size`` bytes from a place of an open file, fewer where it ends before."""
    if hasattr(os, 'pread'):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def refuse_file(folder: str) -> None:
    """Refuse a file, such as an archive of pictures, where a folder is wanted.

    Raises:
        UserError: If it is a file; it says how a folder becomes of it.
    """
    file = folder.rstrip(os.sep)
    if not os.path.isfile(file):
        return
    if file.lower().endswith('.tar'):
        way = 'unpack it, or read it as a shard (configs/pretrain/scale_out/README.md)'
    elif file.lower().endswith(ARCHIVES):
        way = 'unpack it, and give the folder that comes out'
    else:
        way = f'give the folder that it lies in, {os.path.dirname(os.path.abspath(file))!r}'
    raise UserError(f'{file!r} is a file, where a folder of images is wanted: {way}')
