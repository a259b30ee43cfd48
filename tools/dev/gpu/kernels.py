"""Which attention kernels run: the operators as they are dispatched, their kernels by profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode


class AttentionOperators(TorchDispatchMode):
    """Context that notes which of ``F.scaled_dot_product_attention``'s implementations ran.

    Attributes:
        names: Operators, forward and backward. A name tells the implementation: flash,
            efficient, cudnn, or math, which holds the matrix of all pairs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the operator's name, and run it."""
        name = func.overloadpacket.__name__
        if 'attention' in name:
            self.names.add(name)
        return func(*args, **(kwargs or {}))


def attention_kernels(function: Callable[[], Any]) -> list[str]:
    """Run a function on a GPU under the profiler: the kernels that attention started, sorted."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        function()
    found: set[str] = set()
    for event in profiler.events() or ():
        if event.name.startswith('aten::_') and 'attention' in event.name:
            found.update(kernel.name for kernel in event.kernels)
    return sorted(found)
