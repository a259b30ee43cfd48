"""Where each image lies in a set of tar shards."""

import contextlib
import os
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from mae_plugin.datasets import left_out
from mae_plugin.datasets.array_file import load_arrays, save_arrays
from mae_plugin.datasets.path_list import PathList
from mae_plugin.errors import UserError

_ARRAYS = (
    'shards',
    'shard_offsets',
    'sizes',
    'names',
    'name_offsets',
    'shard_of',
    'data',
    'label',
)
_BESIDE = ('.cls', '.txt', '.json')  # labels, captions and facts of an image


class ShardIndex:
    """Name, place and label of every image in some tar shards, as arrays that workers share.

    The layout is webdataset's: the members of a sample follow one another and share their name up
    to the first dot of its last part; ``.cls`` holds the label as text. Nothing is ever unpacked
    to disk.

    Attributes:
        shards (PathList): File names of the shards, without folders.
        sizes (np.ndarray): Their sizes in bytes, (S,) int64.
        names (PathList): Member names of the images, N of them, shard by shard.
        shard_of (np.ndarray): Shard of each, (N,) int32, rising.
        data (np.ndarray): Offset and size of its bytes, (N, 2) int64.
        label (np.ndarray): Label, -1 where there is none, (N,) int32.
    """

    def __init__(
        self,
        shards: PathList,
        sizes: np.ndarray,
        names: PathList,
        shard_of: np.ndarray,
        data: np.ndarray,
        label: np.ndarray,
    ) -> None:
        """Check that everything an index from elsewhere says is possible.

        Raises:
            UserError: If the arrays do not fit one another, or an image lies outside its shard.
        """
        count = len(names)
        consistent = (
            len(sizes) == len(shards)
            and shard_of.shape == label.shape == (count,)
            and data.shape == (count, 2)
            and (np.diff(shard_of) >= 0).all()
            and (count == 0 or (shard_of[0] >= 0 and shard_of[-1] < len(shards)))
        )
        if not consistent or (data < 0).any() or (data.sum(1) > sizes[shard_of]).any():
            raise UserError('the shard index contradicts itself; delete it, it is made again')
        for shard in shards:
            if not is_safe_name(shard) or '/' in shard:
                raise UserError(f'the shard index names a shard {shard!r} outside its folder')
        self.shards = shards
        self.sizes = sizes
        self.names = names
        self.shard_of = shard_of
        self.data = data
        self.label = label

    @classmethod
    def scan(
        cls, files: Iterable[str], suffixes: tuple[str, ...], shards: Sequence[str]
    ) -> 'ShardIndex':
        """Read the headers of local tar files.

        Args:
            files (Iterable[str]): Uncompressed tar files, each read before the next is asked for.
            suffixes (tuple[str, ...]): Endings of images, in lower case.
            shards (Sequence[str]): Their names.

        Raises:
            UserError: If a file is no tar, or holds a member that would lie outside its folder.
        """
        names, offsets = bytearray(), array('q', [0])
        shard_of, data, label, sizes = array('i'), array('q'), array('i'), array('q')
        others: Counter[str] = Counter()
        for number, file in enumerate(files):
            first = len(label)
            key_labels: dict[str, int] = {}
            keys = []
            for name, begin, size, text in _members(file, suffixes, others):
                key = sample_name(name)
                if text is not None:
                    key_labels[key] = int(text) if text.strip().isdigit() else -1
                    continue
                keys.append(key)
                names.extend(os.fsencode(name))
                offsets.append(len(names))
                shard_of.append(number)
                data.extend((begin, size))
                label.append(-1)
            for position, key in enumerate(keys, first):
                label[position] = key_labels.get(key, -1)
            sizes.append(os.path.getsize(file))
        left_out.tell('shards', len(label), others)
        return cls(
            PathList.of(shards),
            np.array(sizes, np.int64),
            PathList(np.frombuffer(bytes(names), np.uint8), np.array(offsets, np.int64)),
            np.array(shard_of, np.int32),
            np.array(data, np.int64).reshape(-1, 2),
            np.array(label, np.int32),
        )

    def save(self, path: str | Path) -> None:
        """Write the index."""
        arrays = dict(
            shards=self.shards.names,
            shard_offsets=self.shards.offsets,
            sizes=self.sizes,
            names=self.names.names,
            name_offsets=self.names.offsets,
            shard_of=self.shard_of,
            data=self.data,
            label=self.label,
        )
        save_arrays(path, arrays)

    @classmethod
    def load(cls, source: str | Path | BinaryIO) -> 'ShardIndex':
        """Read an index.

        Raises:
            UserError: If it is missing, damaged or impossible.
        """
        stored = load_arrays(source, _ARRAYS)
        return cls(
            PathList(stored['shards'], stored['shard_offsets']),
            stored['sizes'],
            PathList(stored['names'], stored['name_offsets']),
            stored['shard_of'],
            stored['data'],
            stored['label'],
        )

    def matches(self, shards: Sequence[str], files: Sequence[str]) -> bool:
        """Whether files are the shards of this index, by name and size."""
        if list(self.shards) != list(shards):
            return False
        with contextlib.suppress(OSError):
            return [os.path.getsize(file) for file in files] == self.sizes.tolist()
        return False


def is_safe_name(name: str) -> bool:
    """Whether a member stays inside the folder it would be unpacked to."""
    path = PurePosixPath(name.replace('\\', '/'))
    return not path.is_absolute() and '..' not in path.parts and path.name != ''


def sample_name(member: str) -> str:
    """Webdataset's key: the member's name up to the first dot of its last part."""
    folder, slash, name = member.rpartition('/')
    return folder + slash + name.partition('.')[0]


def _members(file: str, suffixes: tuple[str, ...], others: Counter[str]):
    """Yield (name, offset, size, None) of images and (name, offset, size, text) of labels.

    All else is counted by suffix in ``others``, but for what webdataset puts beside images.
    """
    try:
        with tarfile.open(file, 'r:') as tar:
            for member in tar:
                if not is_safe_name(member.name):
                    raise UserError(
                        f'shard {file} holds the member {member.name!r}, which points outside '
                        f'its folder: do not trust this file'
                    )
                lower = member.name.lower()
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None or member.issparse():
                    continue
                if lower.endswith('.cls') and member.size < 32:
                    text = stream.read().decode('latin-1')
                    yield member.name, member.offset_data, member.size, text
                elif lower.endswith(suffixes):
                    yield member.name, member.offset_data, member.size, None
                elif not lower.endswith(_BESIDE):
                    others[os.path.splitext(lower)[1]] += 1
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f'shard {file} is no whole, uncompressed tar file ({error})') from error
