"""What a stage is given: device, scale, time left, a place for its record and for its files."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .record import Record

Value = TypeVar('Value')
Scale = TypeVar('Scale')


@dataclass
class Context:
    """One stage's surroundings.

    Attributes:
        record: What was found goes there.
        scratch: An empty folder, removed afterwards.
        device: 'cuda', or 'cpu' in a dry run.
        dry: Whether to run at tiny size.
        photos: Folder with more photographs, or None.
        seconds: The stage's time limit.
    """

    record: Record
    scratch: Path
    device: str
    dry: bool
    seconds: float
    photos: Path | None = None
    _start: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds until the stage is ended."""
        return self.seconds - (time.monotonic() - self._start)

    def scale(self, real: Scale, dry: Scale) -> Scale:
        """One of two sizes."""
        return dry if self.dry else real

    def attempt(self, name: str, function: Callable[..., Value], *args: Any) -> Value | Failure:
        """Call a function that may fail without ending the stage.

        Returns:
            Its value, or what went wrong: too little memory, a missing library, an error of ours.
        """
        import torch

        try:
            value = function(*args)
            if self.device == 'cuda':
                torch.cuda.synchronize()
            return value
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            failure = Failure.of(error)
            # The traceback holds on to the tensors.
            error.__traceback__ = None
        print(f'{name}: {failure}', flush=True)
        self.free()
        return failure

    def free(self) -> None:
        """Give the memory of what is gone back to the device."""
        import gc

        import torch

        gc.collect()
        if self.device == 'cuda':
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class Failure:
    """Why something could not be measured."""

    reason: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The first line of an error; one word for want of memory."""
        import torch

        if isinstance(error, torch.cuda.OutOfMemoryError):
            return cls('out of memory')
        told = ''.join(traceback.format_exception_only(error)).strip()
        return cls(told.splitlines()[0][:180])

    def __str__(self) -> str:
        return self.reason
