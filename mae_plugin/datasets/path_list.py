"""Millions of paths in two arrays.

mmengine's datasets serialise their lists too, by pickling each entry: of a path that makes twice
the bytes, and a cached list could not be read back without unpickling a file.
"""

import os
from array import array
from collections.abc import Iterable, Iterator

import numpy as np


class PathList:
    """An immutable list of relative paths, as one block of bytes and its offsets.

    A million paths of 40 letters take 48 MB, and worker processes share them: there are no Python
    objects whose reference counts would copy the pages.

    Args:
        names (np.ndarray): All paths in the file system's encoding, end to end, (bytes,) uint8.
        offsets (np.ndarray): Where each begins and the last ends, (N + 1,) int64.
    """

    def __init__(self, names: np.ndarray, offsets: np.ndarray) -> None:
        self.names = names
        self.offsets = offsets

    @classmethod
    def of(cls, paths: Iterable[str]) -> 'PathList':
        """Pack strings."""
        names, offsets = bytearray(), array('q', [0])
        for path in paths:
            names += os.fsencode(path)
            offsets.append(len(names))
        return cls(np.frombuffer(bytes(names), np.uint8), np.frombuffer(offsets, np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f'path {index} of {len(self)}')
        return os.fsdecode(self.names[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))
