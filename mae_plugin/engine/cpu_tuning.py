"""Faster training on a CPU: switched on by ``tools/train.py``, off with ``--no-cpu-tuning``.

Models know nothing of it: matrix products are exchanged while they run, inside a context.
"""

import ctypes
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mae_plugin.compat import onednn_linear

# Multiply-adds below which oneDNN's fixed cost of 10 microseconds is not worth it.
LEAST_WORK = 2_000_000
# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@contextmanager
def cpu_tuning() -> Iterator[None]:
    """Train faster on a CPU inside; for models that neither compile nor compute blocks again."""
    keep_freed_memory()
    with OneDNNLinear() if mkl_wastes_avx512() else nullcontext():
        yield


def computes_again(model: Any) -> bool:
    """Whether a model's config recomputes activations: ``use_checkpoint``, or hosts' ``with_cp``.

    The backward pass runs such blocks again outside of any mode of torch's, where products would
    not be those of the forward pass, and torch refuses that.
    """
    if isinstance(model, Mapping):
        if model.get('use_checkpoint') or model.get('with_cp'):
            return True
        model = list(model.values())
    return isinstance(model, (list, tuple)) and any(map(computes_again, model))


class OneDNNLinear(TorchFunctionMode):
    """Inside, ``F.linear`` of float32 on the CPU goes through oneDNN, in the same arithmetic.

    PyTorch multiplies float32 matrices on the CPU through Intel's MKL, which keeps its AVX-512
    kernels for Intel's processors. oneDNN, part of every PyTorch as well, uses what the processor
    has: on an AMD EPYC (Zen 5) it takes half the time. Small products, other types, autocast and
    subclasses of tensors are left to PyTorch.

    Args:
        least_work: Multiply-adds from which a product is exchanged.
    """

    def __init__(self, least_work: int = LEAST_WORK) -> None:
        super().__init__()
        self.least_work = least_work

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by torch in place of ``func``."""
        if func is F.linear and not kwargs and self._suits(*args[:2]):
            return _OneDNNProduct.apply(*args)
        return func(*args, **(kwargs or {}))

    def _suits(self, x: Tensor, weight: Tensor) -> bool:
        return (
            type(x) is Tensor
            and x.device.type == 'cpu'
            and x.dtype is torch.float32
            and weight.dtype is torch.float32
            and x.dim() > 1
            and not torch.is_autocast_cpu_enabled()
            and x.numel() * weight.shape[0] >= self.least_work
        )


class _OneDNNProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x.contiguous()  # overlapping rows are no matrix for oneDNN
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = (*ctx.needs_input_grad, False)[:3]
        # A gradient that is differentiated in turn is left to operators that know how.
        product = _plain_product if torch.is_grad_enabled() else onednn_linear
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            product(rows, weight.t()).view(x.shape) if wants_x else None,
            product(rows.t(), x.reshape(-1, x.shape[-1]).t()) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def _plain_product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.t()


def mkl_wastes_avx512() -> bool:
    """Whether the processor has AVX-512, and MKL leaves it unused since it is not Intel's."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not torch.backends.cpu.get_cpu_capability().startswith('AVX512'):
        return False
    try:
        with open('/proc/cpuinfo') as file:
            processor = file.read(4096)
    except OSError:
        processor = platform.processor()
    return 'GenuineIntel' not in processor


def keep_freed_memory() -> None:
    """Keep what tensors on the CPU free for the tensors to come, until the process ends.

    By default glibc hands large pieces back, and the kernel clears them again for each step:
    60,000 page faults and 3% of the time in a ViT-B step of 8 images; the peak is the same.
    Does nothing where the C library has no ``mallopt``.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    if not mallopt(_M_MMAP_THRESHOLD, 1 << 30):
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that older versions take
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def return_freed_memory() -> None:
    """Hand what is free back to the system, once, where the C library can (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
