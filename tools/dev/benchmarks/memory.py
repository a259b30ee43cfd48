"""Peak memory of a piece of work, from the allocator's own record, and of processes."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_bytes(function: Callable[[], Any], device: str = 'cpu') -> int:
    """Most bytes of tensors alive at once during a call, beyond those alive before it.

    The call should release what it made, and nothing else.

    On CUDA from the caching allocator's counter. On the CPU from torch's profiler, which records
    every allocation and release; the libraries' scratch buffers are not in it. Deterministic, so
    other work on the machine does not disturb it.
    """
    gc.collect()
    if device.startswith('cuda'):
        import torch

        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before

    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = profiler.profiler.kineto_results.events()
    now = peak = 0
    for event in sorted(
        (event for event in events if event.name() == '[memory]'), key=lambda e: e.start_ns()
    ):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def resident(pid: int | str = 'self') -> dict[str, float]:
    """MiB of a process by kind: Rss, and Private, the pages that no other process has."""
    text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    kinds = {name: int(size) / 1024 for name, size in re.findall(r'(\w+): +(\d+) kB', text)}
    return kinds | dict(Private=kinds['Private_Clean'] + kinds['Private_Dirty'])
