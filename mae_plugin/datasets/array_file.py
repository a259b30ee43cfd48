"""Named arrays in one file: written whole or not at all, read without unpickling."""

import contextlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mae_plugin.errors import UserError


def save_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to an ``.npz`` file that other processes see complete or not at all."""
    members: dict[str, Any] = arrays  # numpy's types take a member for the flag allow_pickle
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with open(part, 'wb') as file:
            np.savez(file, **members)
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def load_arrays(source: str | Path | BinaryIO, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read arrays; objects, which could run code, are refused.

    Raises:
        UserError: If the file is missing, damaged, or lacks one of the arrays.
    """
    try:
        with np.load(source, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f'{source} is no sound index ({error}); delete it') from error
