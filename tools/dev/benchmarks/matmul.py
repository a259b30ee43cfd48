"""The matrix products that bound a training step: their rate on this machine, and their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .report import seconds

Multiply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def kernels(device: str = 'cpu', dtype: torch.dtype = torch.float32) -> dict[str, Multiply]:
    """The libraries that multiply matrices here, by name: a product is bounded by the best."""
    found: dict[str, Multiply] = {'torch.mm': torch.mm}
    if device == 'cpu' and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        found['oneDNN'] = lambda a, b: torch.ops.mkldnn._linear_pointwise(
            a, b.t(), None, 'none', [], ''
        )
    return found


def square_rate(
    size: int,
    device: str = 'cpu',
    dtype: torch.dtype = torch.float32,
    multiply: Multiply = torch.mm,
) -> float:
    """GFLOP/s of products of two ``size`` x ``size`` matrices, the best of three.

    On a GPU a hundred at a time: one takes no longer than its launch.
    """
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    count = 100 if device.startswith('cuda') else 1

    def run() -> None:
        for _ in range(count):
            multiply(a, b)

    return 2 * size**3 * count / min(seconds(run, device) for _ in range(3)) / 1e9


class StepProducts(TorchDispatchMode):
    """The matrix products that a function runs: their operations, and their time alone.

    Args:
        function: Run once, here.

    Attributes:
        flops: Floating-point operations of the products, and of attention's: two forward and
            four backward (what a kernel computes again is no useful work).
        count: Number of products outside attention.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self.shapes: list[tuple[int, int, int]] = []
        self.flops = 0
        with self, torch.compiler.set_stance('force_eager'):
            function()
        self.count = len(self.shapes)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the shapes of products, and run the operator."""
        name = func.overloadpacket.__name__
        if name in ('mm', 'addmm'):
            a, b = args[-2:]
            self._add(a.shape[0], a.shape[1], b.shape[1])
        elif name == '_linear_pointwise':  # oneDNN's, of a CPU's tuning
            x, weight = args[:2]
            self._add(x.shape[0], x.shape[1], weight.shape[0])
        elif name in ('bmm', 'baddbmm'):
            a, b = args[-2:]
            for _ in range(a.shape[0]):
                self._add(a.shape[1], a.shape[2], b.shape[2])
        elif name in ('convolution', 'convolution_backward'):
            self._add_convolution(name, args)
        elif name.startswith(('_scaled_dot_product', '_flash_attention')):
            backward = name.endswith('backward')
            query, key = args[1:3] if backward else args[0:2]
            pairs = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
            self.flops += pairs * query.shape[3] * (8 if backward else 4)
        return func(*args, **(kwargs or {}))

    def _add(self, m: int, k: int, n: int) -> None:
        self.shapes.append((m, k, n))
        self.flops += 2 * m * k * n

    def _add_convolution(self, name: str, args: Any) -> None:
        """A patch projection: stride equals kernel, so it is one product."""
        backward = name == 'convolution_backward'
        weight = args[2] if backward else args[1]
        images = args[1] if backward else args[0]
        patch = weight.shape[2] * weight.shape[3]
        tokens = images.shape[0] * images.shape[2] * images.shape[3] // patch
        self._add(tokens, weight[0].numel(), weight.shape[0])

    def seconds(
        self,
        device: str = 'cpu',
        dtype: torch.dtype = torch.float32,
        multiply: Multiply = torch.mm,
    ) -> float:
        """Seconds of the products alone, on random matrices of the same shapes."""
        total = 0.0
        for m, k, n in sorted(set(self.shapes)):
            a = torch.randn(m, k, device=device).to(dtype)
            b = torch.randn(k, n, device=device).to(dtype)
            times = self.shapes.count((m, k, n))

            def run(a=a, b=b, times=times) -> None:
                for _ in range(times):
                    multiply(a, b)

            total += seconds(run, device)
        return total
