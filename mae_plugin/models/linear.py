"""The linear layer, by the fastest exact product that the machine has.

PyTorch multiplies float32 matrices on the CPU through Intel's MKL, which keeps its AVX-512 kernels
for Intel's processors. oneDNN, part of every PyTorch as well, uses what the processor has: on an
AMD EPYC with AVX-512 it takes half the time, in the same float32 arithmetic.
"""

import platform
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

# Multiply-adds below which oneDNN's fixed cost of 10 microseconds is not worth it.
_LEAST_WORK = 2_000_000


def _mkl_wastes_avx512() -> bool:
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


# torch 2.7 and newer tell; older ones export graphs with our operator.
_is_exporting = getattr(torch.compiler, 'is_exporting', bool)
ONEDNN_IS_FASTER = _mkl_wastes_avx512()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``: (..., K) and a weight of (N, K) to (..., N), through oneDNN where faster.

    On other devices and processors, in other dtypes, under autocast and for small products it is
    ``F.linear`` itself; so it is for tools that watch or transform operators (FLOP counters,
    tracing, ``torch.func``). ``torch.backends.mkldnn.flags(enabled=False)`` turns oneDNN off.
    """
    return _OneDNNLinear.apply(x, weight, bias) if _suits(x, weight) else F.linear(x, weight, bias)


class Linear(nn.Linear):
    """``nn.Linear`` whose product is :func:`linear`'s; names and initialisation are the same."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return linear(x, self.weight, self.bias)


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        ONEDNN_IS_FASTER
        and isinstance(x, Tensor)  # no stand-in of torch.fx
        and x.device.type == 'cpu'
        and x.dtype is torch.float32
        and weight.dtype is torch.float32
        and x.dim() > 1
        and _is_plain(x, weight)
        and x.numel() * weight.shape[0] >= _LEAST_WORK
    )


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    """Whether nothing wraps the tensors, watches or transforms the operators, or records them."""
    if torch.jit.is_tracing() or torch.is_autocast_enabled('cpu'):
        return False
    if torch.compiler.is_compiling():
        # A graph that is exported runs where our operator is unknown.
        return not _is_exporting()
    return (
        type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter)
        and bool(torch.backends.mkldnn.enabled)
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.maybe_current_level() is None
        and forward_ad._current_level < 0
    )


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """(M, K) and (N, K), either a transposed view or not, to (M, N)."""
    if torch.compiler.is_compiling():
        return _opaque_product(a, b, bias)
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, 'none', [], '')


@torch.library.custom_op('mae_plugin::product', mutates_args=(), device_types='cpu')
def _opaque_product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """For compiled graphs: Inductor knows oneDNN's operator too, but only in frozen models."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, 'none', [], '')


@_opaque_product.register_fake
def _(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous()  # overlapping rows are no matrix for oneDNN
        ctx.save_for_backward(x, weight)
        out = _product(x.view(-1, x.shape[-1]), weight, bias)
        # No view, as F.linear's is none: views made here must not be changed in place.
        return torch.ops.aten._unsafe_view(out, [*x.shape[:-1], out.shape[-1]])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        # A gradient that is differentiated in turn is left to operators that know how.
        product = _differentiable_product if torch.is_grad_enabled() else _product
        grad = grad.reshape(-1, grad.shape[-1])
        return (
            product(grad, weight.t()).view(x.shape) if wants_x else None,
            product(grad.t(), x.reshape(-1, x.shape[-1]).t()) if wants_weight else None,
            grad.sum(0) if wants_bias else None,
        )


def _differentiable_product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.t()
