"""Read checkpoints without running code: the one door for every ``.pth`` that the plugin opens.

A pickle is a program. ``safe_load`` lets torch's restricted unpickler (``weights_only=True``)
build tensors and plain types, and replaces the few foreign types that honest files hold by inert
stand-ins defined here: numpy arrays and scalars, mmengine's ``HistoryBuffer``,
``argparse.Namespace`` (the official MAE files carry one under ``args``) and paths. Nothing of the
file's choosing is ever imported or called; mmengine's own allow-list holds the real ``getattr``,
which is enough to reach anything, and falls back to unpickling everything.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

_SIMPLE_DTYPE = re.compile(r'[<>|=]?(?:[biufc]\d{1,2}|\?|[SU]\d+)')


def safe_load(
    path: str | Path,
    map_location: Any = 'cpu',
    trust: bool = False,
    mmap: bool = False,
) -> dict[str, Any]:
    """Read a checkpoint (``.pth`` of either torch format, or ``.safetensors``) as plain data.

    Args:
        path: The file.
        map_location: As for ``torch.load``.
        trust: Unpickle everything, code included. Only for files that you wrote yourself.
        mmap: Leave the tensors on the disk until they are used (new torch format only).

    Returns:
        The dict that was saved. Numpy arrays and ``HistoryBuffer`` come back as such, numpy
        scalars as Python numbers, paths as strings, a ``Namespace`` as ``argparse.Namespace``.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        ValueError: The file holds code or types outside the list, is empty, truncated or no
            checkpoint, or does not hold a dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist: check the path')
    if path.stat().st_size == 0:
        raise ValueError(
            f'checkpoint {path} is empty: it was cut off while being written or copied; copy it '
            'again or use an older one'
        )
    if path.suffix == '.safetensors':
        return _load_safetensors(path, map_location)
    content = _load_pth(path, map_location, trust, mmap)
    if not isinstance(content, dict):
        raise ValueError(
            f'checkpoint {path} holds a {type(content).__name__}, not a dict of tensors: save '
            "model.state_dict() or {'state_dict': ...} instead"
        )
    return content


def use_safe_loading(trust: bool = False) -> None:
    """Make mmengine read every checkpoint file and URL through :func:`safe_load`.

    Covers ``load_from``, ``resume`` and ``init_cfg=dict(type='Pretrained')`` of the running
    process. Without it the maintained mmengine falls back to full unpickling.

    Args:
        trust: Unpickle everything from now on, code included.
    """
    from mmengine.runner import CheckpointLoader

    def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
        return safe_load(filename, map_location, trust=trust)

    def load_from_http(filename: str, map_location: Any = None) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, os.path.basename(filename.split('?')[0]) or 'download')
            torch.hub.download_url_to_file(filename, local, progress=False)
            return safe_load(local, map_location, trust=trust)

    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)


def _load_safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError(f'reading {path} needs safetensors: pip install safetensors') from error
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        return load_file(path, device=str(device))
    except Exception as error:
        raise ValueError(
            f'{path} is not a whole safetensors file ({error}): copy or download it again'
        ) from error


def _load_pth(path: Path, map_location: Any, trust: bool, mmap: bool) -> Any:
    if trust:
        return torch.load(path, map_location=map_location, weights_only=False)
    # The older format is one pickle stream and cannot be mapped.
    mmap = mmap and _is_zip(path)
    try:
        with torch.serialization.safe_globals(list(_STAND_INS)):
            content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
        return _to_plain(content, {})
    except Exception as error:
        raise ValueError(_explain(path, error)) from error


def _is_zip(path: Path) -> bool:
    with path.open('rb') as file:
        return file.read(4) == b'PK\x03\x04'


def _explain(path: Path, error: Exception) -> str:
    message = str(error)
    asked = re.search(r'GLOBAL ([\w.]+)', message)
    if asked or re.search(r'call reduce for|create new object|only build', message):
        name = f'"{asked.group(1)}"' if asked else 'a call that it put together itself'
        return (
            f'checkpoint {path} was refused: its pickle asks for {name}, which is no tensor or '
            'plain type and could run code. If you wrote the file yourself, load it with '
            'trust=True'
        )
    reason = message.strip().splitlines()[0] if message.strip() else type(error).__name__
    return (
        f'{path} is not a whole checkpoint ({reason[:200]}): it is truncated, damaged or of '
        'another kind; copy or download it again, or use an older one'
    )


class _InertArray:
    """Stands for a pickled numpy array until its type and size have been checked."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def plain(self) -> np.ndarray:
        _, shape, dtype, is_fortran, data = self.state
        if not isinstance(dtype, _InertDtype) or not isinstance(data, bytes):
            raise ValueError('a numpy array of objects')
        array = np.frombuffer(data, dtype.plain()).copy()
        return array.reshape(shape, order='F' if is_fortran else 'C')


class _InertDtype:
    """Stands for a pickled numpy dtype: booleans, numbers and strings only."""

    def __init__(self, name: str = '', *_: Any) -> None:
        self.name = name
        self.order: Any = '='  # whatever the pickle says

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def plain(self) -> np.dtype:
        if not isinstance(self.name, str) or not _SIMPLE_DTYPE.fullmatch(self.name):
            raise ValueError(f'a numpy dtype {self.name!r}')
        dtype = np.dtype(self.name)
        return dtype.newbyteorder(self.order) if self.order in ('<', '>') else dtype


class _InertScalar:
    """Stands for a pickled numpy scalar."""

    def __init__(self, dtype: Any = None, data: Any = b'') -> None:
        self.dtype, self.data = dtype, data

    def plain(self) -> Any:
        if not isinstance(self.dtype, _InertDtype) or not isinstance(self.data, bytes):
            raise ValueError('a numpy scalar of objects')
        return np.frombuffer(self.data, self.dtype.plain())[0].item()


class _InertHistory:
    """Stands for mmengine's ``HistoryBuffer``: two arrays and a length."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def plain(self) -> Any:
        from mmengine.logging import HistoryBuffer

        # The maintained fork adds a table of methods to the state; it is rebuilt, not read.
        values, counts = self.state['_log_history'], self.state['_count_history']
        return HistoryBuffer(values.plain(), counts.plain(), int(self.state['max_length']))


class _InertPath:
    """Stands for a ``pathlib`` path, which honest ``args`` hold."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def plain(self) -> str:
        return os.path.join('', *(str(part) for part in self.parts))


class _InertAttribute:
    """Stands for ``getattr``, which looks nothing up: HistoryBuffer's table of methods asks."""

    def __init__(self, *_: Any) -> None:
        pass

    def plain(self) -> None:
        return None


def _inert_reconstruct(*_: Any) -> _InertArray:
    return _InertArray()


_STAND_INS: list[tuple[Callable[..., Any], str]] = [
    (argparse.Namespace, 'argparse.Namespace'),
    (_InertHistory, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_InertAttribute, 'builtins.getattr'),
    (_InertArray, 'numpy.ndarray'),
    (_InertDtype, 'numpy.dtype'),
    (_inert_reconstruct, 'numpy.core.multiarray._reconstruct'),
    (_inert_reconstruct, 'numpy._core.multiarray._reconstruct'),
    (_InertScalar, 'numpy.core.multiarray.scalar'),
    (_InertScalar, 'numpy._core.multiarray.scalar'),
    (_InertPath, 'pathlib.PosixPath'),
    (_InertPath, 'pathlib.WindowsPath'),
    (_InertPath, 'pathlib._local.PosixPath'),
    (_InertPath, 'pathlib._local.WindowsPath'),
]
_INERT_TYPES = (
    _InertArray,
    _InertAttribute,
    _InertDtype,
    _InertHistory,
    _InertPath,
    _InertScalar,
)


def _to_plain(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """Replace stand-ins by what they hold, in place where the container allows it.

    Args:
        value: What torch's unpickler returned.
        seen: id -> (original, replacement); holding the original keeps its id from being reused.
    """
    if id(value) in seen:
        return seen[id(value)][1]
    seen[id(value)] = (value, value)
    plain = value
    if type(value) in _INERT_TYPES:
        plain = value.plain()
    elif isinstance(value, dict):
        for key in list(value):
            value[key] = _to_plain(value[key], seen)
    elif isinstance(value, list):
        value[:] = [_to_plain(item, seen) for item in value]
    elif type(value) is tuple:
        plain = tuple(_to_plain(item, seen) for item in value)
    elif isinstance(value, argparse.Namespace):
        _to_plain(vars(value), seen)
    seen[id(value)] = (value, plain)
    return plain
