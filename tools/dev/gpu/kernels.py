"""Which attention kernels ran, as the profiler names them."""

from __future__ import annotations

from typing import Any

from torch.profiler import ProfilerActivity, profile


class AttentionKernels:
    """Context that notes which of ``F.scaled_dot_product_attention``'s implementations ran.

    Args:
        device: 'cuda' or 'cpu'.
    """

    def __init__(self, device: str) -> None:
        self._is_gpu = device == 'cuda'
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self._is_gpu
        self._profiler = profile(activities=activities)

    def __enter__(self) -> AttentionKernels:
        self._profiler.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._profiler.__exit__(*error)

    def found(self) -> dict[str, list[str]]:
        """The operators of attention that ran, to the GPU kernels that each started.

        The operator's name tells the implementation: flash, efficient, cudnn, or math, which
        holds the matrix of all pairs.
        """
        found: dict[str, set[str]] = {}
        for event in self._profiler.events() or ():
            name = event.name.removeprefix('aten::')
            if 'attention' in name and event.name.startswith('aten::_'):
                kernels = {kernel.name for kernel in event.kernels}
                # On a GPU an operator that started none only called the next one, but for the
                # one that is written out in others.
                if kernels or not self._is_gpu or name.endswith('math'):
                    found.setdefault(name, set()).update(kernels)
        return {name: sorted(kernels) for name, kernels in sorted(found.items())}
