"""Inert stand-ins for the few foreign types that ordinary checkpoints hold, and their unpickler.

A pickle names what it wants built. Here each name of a short list gives a class of this file that
only keeps what it is handed; :func:`to_plain` then makes arrays, numbers, strings and namespaces
of it, after checking. Every other name is refused, so that nothing of the file's choosing is ever
imported or called.
"""

import argparse
import collections
import os
import pickle
import re
from typing import Any, BinaryIO

import numpy as np

_SIMPLE_DTYPE = re.compile(r'[<>|=]?(?:[biufc]\d{1,2}|\?|[SU]\d+)')


class _Frozen(type):
    """Classes that a pickle cannot change: its BUILD may set attributes on what it was given."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise TypeError(f'{cls.__name__} is not to be changed')


class _Inert(metaclass=_Frozen):
    """Keeps the arguments and the state that a pickle gives, and does nothing."""

    args: tuple = ()
    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def plain(self) -> Any:
        """What it stands for."""
        raise NotImplementedError


class _Dtype(_Inert):
    """A numpy dtype: booleans, numbers and strings only."""

    def plain(self) -> np.dtype:
        name = self.args[0]
        order: Any = self.state[1] if self.state else '='
        if not isinstance(name, str) or not _SIMPLE_DTYPE.fullmatch(name):
            raise ValueError(f'a numpy dtype {name!r}')
        dtype = np.dtype(name)
        return dtype.newbyteorder(order) if order in ('<', '>') else dtype


class _Array(_Inert):
    """A numpy array, as ``_reconstruct`` and ``__setstate__`` build it."""

    def plain(self) -> np.ndarray:
        _, shape, dtype, is_fortran, data = self.state
        return _array(data, dtype, shape, 'F' if is_fortran else 'C')


class _Buffer(_Inert):
    """A numpy array as pickle's protocol 5 has it."""

    def plain(self) -> np.ndarray:
        data, dtype, shape, order = self.args[:4]
        return _array(data, dtype, shape, order)


class _Scalar(_Inert):
    """A numpy scalar."""

    def plain(self) -> Any:
        dtype, data = self.args
        return _array(data, dtype, (), 'C').item()


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if isinstance(data, str):  # Python 2 had its bytes in a str
        data = data.encode('latin1')
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise ValueError('a numpy array of objects')
    return np.frombuffer(data, dtype.plain()).copy().reshape(shape, order=order)


class _History(_Inert):
    """mmengine's ``HistoryBuffer``: two arrays and a length."""

    def plain(self) -> Any:
        from mmengine.logging import HistoryBuffer

        # The maintained fork adds a table of methods to the state; it is rebuilt, not read.
        values, counts = (to_plain(self.state[f'_{k}_history'], {}) for k in ('log', 'count'))
        return HistoryBuffer(values, counts, int(self.state['max_length']))


class _Namespace(_Inert):
    """``argparse.Namespace``, in which the official files keep their arguments."""

    def plain(self) -> argparse.Namespace:
        namespace = argparse.Namespace()
        vars(namespace).update(self.state or {})
        return namespace


class _Path(_Inert):
    """A ``pathlib`` path, which ordinary arguments hold."""

    def plain(self) -> str:
        return os.path.join('', *(str(part) for part in self.args))


class _Attribute(_Inert):
    """``getattr``, which looks nothing up: HistoryBuffer's table of methods asks."""

    def plain(self) -> None:
        return None


class _Latin1(metaclass=_Frozen):
    """``_codecs.encode``, which is how Python 3 writes bytes in the protocols of Python 2."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        if encoding != 'latin1':
            raise ValueError(f'text in the encoding {encoding!r}')
        return text.encode('latin1')


STAND_INS: dict[str, type] = {
    'argparse.Namespace': _Namespace,
    'mmengine.logging.history_buffer.HistoryBuffer': _History,
    'builtins.getattr': _Attribute,
    'numpy.ndarray': _Array,
    'numpy.dtype': _Dtype,
    'numpy.core.multiarray._reconstruct': _Array,
    'numpy._core.multiarray._reconstruct': _Array,
    'numpy.core.multiarray.scalar': _Scalar,
    'numpy._core.multiarray.scalar': _Scalar,
    'pathlib.PosixPath': _Path,
    'pathlib.WindowsPath': _Path,
    'pathlib._local.PosixPath': _Path,
    'pathlib._local.WindowsPath': _Path,
}
# What torch's restricted unpickler knows by itself, or never meets.
_BARE = {
    '_codecs.encode': _Latin1,
    'numpy.core.numeric._frombuffer': _Buffer,
    'numpy._core.numeric._frombuffer': _Buffer,
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Builds containers, numbers, strings and stand-ins; refuses every other name."""

    def find_class(self, module: str, name: str) -> type:
        asked = f'{module}.{name}'
        if asked == 'collections.OrderedDict':
            return collections.OrderedDict
        known = STAND_INS.get(asked) or _BARE.get(asked)
        if known is None:
            # Worded as torch's own unpickler has it.
            raise pickle.UnpicklingError(f'Unsupported global: GLOBAL {asked}')
        return known


def restricted_load(file: BinaryIO) -> Any:
    """Read a bare pickle (no torch in it) and replace its stand-ins.

    Raises:
        pickle.UnpicklingError: If it asks for a name outside the list.
    """
    return to_plain(_RestrictedUnpickler(file, encoding='latin1').load(), {})


def to_plain(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """Replace stand-ins by what they hold, in place where the container allows it.

    Args:
        value: What an unpickler returned.
        seen: id -> (original, replacement); holding the original keeps its id from being reused.
    """
    if id(value) in seen:
        return seen[id(value)][1]
    plain = value.plain() if isinstance(value, _Inert) else value
    seen[id(value)] = (value, plain)
    if isinstance(plain, dict):
        for key in list(plain):
            plain[key] = to_plain(plain[key], seen)
    elif isinstance(plain, list):
        plain[:] = [to_plain(item, seen) for item in plain]
    elif type(plain) is tuple:
        plain = tuple(to_plain(item, seen) for item in plain)
    elif isinstance(plain, argparse.Namespace):
        to_plain(vars(plain), seen)
    seen[id(value)] = (value, plain)
    return plain
