"""What differs between versions of other libraries, and their private names: known here alone.

torch 2.1 is the oldest that works. What only newer ones have is replaced here where that is
possible, and otherwise ends in one sentence (:func:`require_torch`). Tried with torch 2.1.2,
2.11.0 and 2.13.0.
"""

import importlib
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from mae_plugin.errors import UserError

TORCH = tuple(int(part) for part in torch.__version__.split('.')[:2])


def require_torch(version: str, what: str) -> None:
    """Refuse a part that the installed torch is too old for.

    Args:
        version: The oldest that has it, such as '2.4'.
        what: The part, as the user knows it, such as 'strategy FSDPStrategy'.

    Raises:
        UserError: torch is older.
    """
    if tuple(map(int, version.split('.'))) > TORCH:
        raise UserError(
            f'{what} needs torch {version} or newer, and this is torch {torch.__version__}: '
            'install a newer torch, or do without it'
        )


def is_compiling() -> bool:
    """Whether this is run to make a graph of it."""
    if hasattr(torch.compiler, 'is_compiling'):  # torch 2.2
        return torch.compiler.is_compiling()
    return torch._utils.is_compiling()


def is_exporting() -> bool:
    """Whether this is run to make a program of it that shall take other sizes too.

    Before torch 2.7 ``torch.export`` looks like ``torch.compile``, so both count there.
    """
    exporting = getattr(torch.compiler, 'is_exporting', is_compiling)  # torch 2.7
    return torch.jit.is_tracing() or exporting()


def is_autocast_available(device_type: str) -> bool:
    """Whether a kind of device can autocast; others raise when asked."""
    # torch 2.4 has the question; 2.11 cannot be asked inside a graph, 2.13 can.
    if hasattr(torch.amp, 'is_autocast_available') and not is_compiling():
        return torch.amp.is_autocast_available(device_type)
    return device_type in ('cpu', 'cuda', 'xpu')


def has_native_bfloat16() -> bool:
    """Whether the CUDA device computes in bfloat16 itself."""
    if TORCH >= (2, 5):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cuda.get_device_capability()[0] >= 8 or torch.version.hip is not None


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., K) and (N, K) to (..., N) by oneDNN, which has no public name. No gradient.

    The result is no view, so that it may be changed in place. Tried on torch 2.13 (CPU build).
    """
    rows = x.reshape(-1, x.shape[-1])
    out = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, 'none', [], '')
    return torch.ops.aten._unsafe_view(out, [*x.shape[:-1], weight.shape[0]])


def as_uint16(values: Tensor) -> Tensor:
    """Whole numbers from 0 to 65535, of any dtype, as uint16; as float32 before torch 2.3."""
    return values.to(torch.uint16 if hasattr(torch, 'uint16') else torch.float32)


def tracing_exporter() -> dict[str, Any]:
    """Arguments of ``torch.onnx.export`` for the exporter that traces; before 2.5 the only one."""
    return dict(dynamo=False) if TORCH >= (2, 5) else {}


def has_fused_optimizers(device_type: str) -> bool:
    """Whether optimizers take ``fused=True`` for parameters on a kind of device."""
    oldest = (2, 4) if device_type == 'cpu' else (2, 6)  # Apple's, and shapes alone
    return device_type == 'cuda' or oldest <= TORCH


def load_restricted(
    path: str | Path, stand_ins: Mapping[str, type], map_location: Any, mmap: bool
) -> Any:
    """``torch.load`` that builds tensors, plain types and ``stand_ins``, and refuses all else.

    Args:
        path: A file of either torch format.
        stand_ins: What to build for a name in the pickle; their instances may be given a state.
        map_location: As for ``torch.load``.
        mmap: Leave the tensors on the disk until they are used.

    Raises:
        Exception: Of many kinds, if the file is damaged or asks for anything else.
    """
    if hasattr(torch.serialization, 'safe_globals'):  # torch 2.5
        known: list[Any] = [(stand_in, name) for name, stand_in in stand_ins.items()]
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    return load_restricted_before_2_5(path, stand_ins, map_location, mmap)


def load_restricted_before_2_5(
    path: str | Path, stand_ins: Mapping[str, type], map_location: Any, mmap: bool
) -> Any:
    """:func:`load_restricted` where torch's own list of names is closed.

    An unpickler of ours goes through ``torch.load``'s public door for one (``pickle_module``). It
    knows torch's list and the stand-ins, and may change nothing but tensors, ordered dicts and
    stand-ins that it has built itself, as torch's own.
    """
    from torch._weights_only_unpickler import _get_allowed_globals

    with open(path, 'rb') as file:
        is_archive = file.read(4) == b'PK\x03\x04'
    # torch.load would hand it to torch.jit.load.
    if is_archive and _is_script(path):
        raise pickle.UnpicklingError('a TorchScript archive')
    plain: dict[str, Any] = {
        f'builtins.{kind.__name__}': kind for kind in (bytearray, complex, set)
    }
    # On the list of newer torch alone: a schedule's milestones are a Counter.
    plain |= {'collections.Counter': Counter, 'torch.device': torch.device}
    plain |= {str(kind): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
    names = {**plain, '_codecs.encode': _encode, **_get_allowed_globals(), **stand_ins}
    built = (Tensor, dict, *stand_ins.values())

    # The one of Python code, whose steps can be checked; torch's is another copy of it.
    base: Any = vars(pickle)['_Unpickler']

    class Unpickler(base):
        dispatch = dict(base.dispatch)

        def find_class(self, module: str, name: str) -> Any:
            asked = f'{module}.{name}'.replace('__builtin__', 'builtins')
            if asked not in names:
                raise pickle.UnpicklingError(f'Unsupported global: GLOBAL {asked}')
            return names[asked]

        def load_build(self) -> None:
            if not isinstance(self.stack[-2], built):
                raise pickle.UnpicklingError('Can only build tensors and plain types')
            super().load_build()

        dispatch[pickle.BUILD[0]] = load_build

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    door: Any = SimpleNamespace(__name__='restricted', Unpickler=Unpickler, load=load)
    return torch.load(
        str(path), map_location=map_location, pickle_module=door, weights_only=False, mmap=mmap
    )


def _is_script(path: str | Path) -> bool:
    return 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the pickle protocols of Python 2."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'text in the encoding {encoding!r}')
    return text.encode('latin1')


def sharded_state_dicts() -> ModuleType:
    """``torch.distributed.checkpoint.state_dict``: FSDP's weights and states by name.

    Raises:
        UserError: torch is older than 2.4.
    """
    require_torch('2.4', 'strategy FSDPStrategy')
    return importlib.import_module('torch.distributed.checkpoint.state_dict')


def names_in_checkpoint(path: str | Path) -> list[str]:
    """What a file's pickle asks for beyond tensors and plain types.

    Raises:
        UserError: torch is older than 2.6, which cannot tell.
    """
    require_torch('2.6', 'reading checkpoints of DeepSpeed safely')
    return torch.serialization.get_unsafe_globals_in_checkpoint(path)


def is_worker_failure(error: RuntimeError) -> bool:
    """Whether torch's loader says that a worker is gone or stuck, which has no class of its own.

    An exception that a dataset raised begins with "Caught" instead.
    """
    return str(error).startswith(('DataLoader worker', 'DataLoader timed out'))


def stop_workers(loader: Any, iterator: Any = None, kill: bool = False) -> None:
    """End a ``DataLoader``'s workers; left to Python that takes 5 s for each.

    A loader with persistent workers starts new ones when it is iterated again.

    Args:
        loader: The loader.
        iterator: What iterates it; by default the one whose workers persist.
        kill: End workers that hang in C, too.
    """
    persistent = getattr(loader, '_iterator', None)
    iterator = persistent if iterator is None else iterator
    if kill:
        for process in getattr(iterator, '_workers', ()):
            process.kill()
    if hasattr(iterator, '_shutdown_workers'):
        iterator._shutdown_workers()
    if persistent is not None:
        loader._iterator = None


def after_state_dict(
    module: nn.Module, hook: Callable[[nn.Module, dict, str, dict], None]
) -> None:
    """Let a module change its part of a state dict.

    A public name in torch 2.5 and later; tried with 2.13.
    """
    public = getattr(module, 'register_state_dict_post_hook', None)
    (public or module._register_state_dict_hook)(hook)


def mmengine_strategies() -> ModuleType:
    """mmengine's training strategies, which stand in a private module (0.10.7, onedl 0.10.12)."""
    return importlib.import_module('mmengine._strategy')


def mmengine_home() -> str:
    """Folder of mmengine's downloads (0.10.7, onedl 0.10.12)."""
    return importlib.import_module('mmengine.runner.checkpoint')._get_mmengine_home()


def is_resuming(runner: Any) -> bool:
    """Whether mmengine's runner goes on with a run; it tells nobody else. Tried with 0.10.12."""
    return bool(runner._resume)


@contextmanager
def hand_warnings_to(show: Callable[..., None]) -> Iterator[None]:
    """Hand Python's warnings to a function inside, and leave everything as it was.

    By ``warnings.showwarning``, which Python documents as the name to assign for that.

    Args:
        show: Called with the function that shows them otherwise, and with its arguments:
            message, category, file's name, number of the line.
    """
    with warnings.catch_warnings():
        before = warnings.showwarning

        def handed(*told: Any, **options: Any) -> None:
            show(before, *told, **options)

        warnings.showwarning = handed
        yield


def gradient_norms(grads: list[Tensor]) -> Tensor:
    """Norms (N,) of N gradients, in float32, computed together."""
    return torch.stack([norm.float() for norm in torch._foreach_norm(grads)])


def step_unless(bad: Tensor, optimizer: Any, step: Callable[[], Any]) -> None:
    """Make an optimizer's step, unless ``bad`` is 1.

    Fused optimizers read it inside their kernel, as torch's gradient scaler hands it to them. For
    all others its value is read here, which waits for the device.
    """
    if getattr(optimizer, '_step_supports_amp_scaling', False):
        optimizer.grad_scale, optimizer.found_inf = None, bad
        try:
            step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf
    elif not bad:
        step()


def param_scheduler() -> type:
    """mmengine's base class of schedulers, whose name is private though it is exported.

    mmengine 0.10.3 to 0.10.12.
    """
    from mmengine.optim import _ParamScheduler

    return _ParamScheduler


def scheduler_step(scheduler: Any) -> int:
    """Steps that a scheduler of mmengine, or its state dict, has counted since training began.

    ``last_step`` stands still after the schedule's end. mmengine 0.10.3 to 0.10.12.
    """
    state = scheduler if isinstance(scheduler, dict) else scheduler.__dict__
    return int(state['_global_step'])
