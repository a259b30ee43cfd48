"""What becomes of images that cannot be used, and which file each worker is on."""

import errno
import os
from typing import BinaryIO

import numpy as np
import torch
from mmengine.dist import get_world_size
from torch.utils.data import get_worker_info

from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.errors import UserError
from mae_plugin.files import locked

# The machine's fault, not the file's: such errors end the run as they are.
_MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_SLOTS = 512
_SEEN, _BAD, _CURRENT = range(3)


class TooManyBadImages(UserError):  # noqa: N818 - says what happened
    """The share of unusable images is above the limit."""


class BadImages:
    """Counts unusable images over all workers, logs each once, and ends the run above a share.

    Every worker has a row of a small table in shared memory: images tried, images unusable, and
    the one it is on. So the counts hold over all workers without locks, and when a worker dies
    its file is known. Counts are those of the process that made this object (one rank).

    Args:
        max_share (float): The run ends when more than this share of the images tried lately
            (since a worker's counts were last halved, see ``window``) were unusable ...
        min_count (int): ... and at least so many. ``max_share=0, min_count=1`` ends it at once.
        window (int): A worker's counts are halved at so many images, so that a disk that fails
            in the third night shows.
        log_file (str, optional): Where paths and reasons go, one line each, appended; ranks and
            runs may share it. The runner's hook sets it to ``<work_dir>/bad_images.txt``.

    Raises:
        UserError: If ``max_share`` lies outside [0, 1] or ``min_count`` or ``window`` below 1.
    """

    def __init__(
        self,
        max_share: float = 0.1,
        min_count: int = 20,
        window: int = 20_000,
        log_file: str | None = None,
    ) -> None:
        if not 0 <= max_share <= 1 or min_count < 1 or window < 1:
            raise UserError(
                f'max_share={max_share} must lie in [0, 1], min_count={min_count} and '
                f'window={window} be at least 1'
            )
        self.max_share = max_share
        self.min_count = min_count
        self.window = window
        self.log_file = log_file
        self.processes = get_world_size()
        self._table = torch.zeros(_SLOTS, 3, dtype=torch.int64, device='cpu').share_memory_()
        self._logged: set[bytes] = set()
        self._log_size = 0

    @staticmethod
    def is_bad(error: Exception) -> bool:
        """Whether an error is an image's own fault."""
        if isinstance(error, OSError):
            return error.errno not in _MACHINE_ERRORS
        return isinstance(error, BadImageError)

    def begin(self, index: int) -> None:
        """Note that this worker now tries image ``index``."""
        row = self._row()
        row[_CURRENT] = index + 1
        row[_SEEN] += 1
        if row[_SEEN] >= self.window:
            row[_SEEN] //= 2
            row[_BAD] //= 2

    def end(self) -> None:
        """Note that this worker is done with its image."""
        self._row()[_CURRENT] = 0

    def add(self, path: str, error: Exception) -> None:
        """Count and log an unusable image.

        Raises:
            TooManyBadImages: If that is one too many.
        """
        self._row()[_BAD] += 1
        reason = ' '.join(str(error).split()) or repr(error)
        self._log(os.fsencode(path).replace(b'\n', b'\\n'), reason)
        seen, bad = self.counts()
        if bad >= self.min_count and bad > self.max_share * seen:
            raise TooManyBadImages(
                f'{self.describe()}. More than the share {self.max_share} is not allowed; the '
                f'last: {path}: {reason}. Mend the data, or allow more with '
                f'bad_images=dict(max_share=...) of the dataset'
            )

    def describe(self) -> str:
        """The counts in words: tries, of which one file may have several, and different files."""
        seen, bad = self.counts()
        text = f'{bad} of the last {seen} tries to read an image failed'
        if self.processes > 1:
            text += f' (in this process, one of {self.processes})'
        listed = self.listed()
        if listed is None:
            return text
        return f'{text}; {self.log_file} lists {listed} different file' + 's' * (listed != 1)

    def listed(self) -> int | None:
        """Different files in the log, of all that share it; None without a log."""
        if self.log_file is None:
            return None
        with locked(f'{self.log_file}.lock'), open(self.log_file, 'ab+') as file:
            self._catch_up(file)
        return len(self._logged)

    def counts(self) -> tuple[int, int]:
        """Images tried lately and unusable ones among them, over all workers."""
        table = self._table.numpy()
        return int(table[:, _SEEN].sum()), int(table[:, _BAD].sum())

    def current(self) -> dict[int, int]:
        """Index of the image that each worker is on, by worker number; -1 is the main process."""
        column = self._table[:, _CURRENT].numpy()
        return {int(slot) - 1: int(column[slot]) - 1 for slot in np.flatnonzero(column)}

    def _row(self) -> np.ndarray:
        info = get_worker_info()
        return self._table.numpy()[0 if info is None else 1 + info.id % (_SLOTS - 1)]

    def _log(self, path: bytes, reason: str) -> None:
        """Append a line unless the file has one for this path; other processes may write too."""
        if self.log_file is None or path in self._logged:
            return
        with locked(f'{self.log_file}.lock'), open(self.log_file, 'ab+') as file:
            self._catch_up(file)
            if path not in self._logged:
                self._logged.add(path)
                self._log_size += file.write(path + b'\t' + reason.encode() + b'\n')

    def _catch_up(self, file: BinaryIO) -> None:
        """Read what was logged since the last look."""
        file.seek(self._log_size)
        news = file.read()
        self._log_size += len(news)
        self._logged.update(line.split(b'\t')[0] for line in news.splitlines())
