"""Files that are either whole or absent."""

import errno
import os
from pathlib import Path


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


def temporary_name(name: str) -> str:
    """The hidden name under which ``name`` is written; matches ``.*.writing``."""
    return f'.{name}.writing'


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk: what was created, renamed or removed there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
