"""What data workers inherit from the process that began them, and have no use for."""

import ctypes
import mmap
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from mae_plugin.engine.cpu_tuning import return_freed_memory


class LeanInit:
    """A ``worker_init_fn`` that lets go of the model and of free memory in a forked worker.

    A forked worker shares the model's memory with the run until the optimizer changes the weights.
    From then on the worker alone holds what they were: 0.4 GB of ViT-B, for as long as it lives.
    Its view of them becomes zeros here, at no cost to the run. Workers that are started in
    another way inherit nothing, and nothing is done there.

    Args:
        inner: The function that it stands for.
        model: Of the run.
    """

    def __init__(self, inner: Callable[[int], Any] | None, model: nn.Module) -> None:
        self.inner = inner
        self.model: nn.Module | None = model

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets that is not forked: no model, whose memory is none of its own."""
        return dict(inner=self.inner, model=None)

    def __call__(self, worker: int) -> None:
        """Begin worker number ``worker``."""
        if self.model is not None:
            let_go(self.model)
            return_freed_memory()
        if self.inner is not None:
            self.inner(worker)


def let_go(model: nn.Module) -> None:
    """Drop this process's view of the weights on the CPU: it reads zeros, or what it likes.

    Whole pages alone; does nothing where the system has no such call.
    """
    if not hasattr(mmap, 'MADV_DONTNEED'):
        return
    try:
        madvise = ctypes.CDLL(None).madvise
    except (AttributeError, OSError, TypeError):
        return
    for tensor in _on_cpu(model):
        storage = tensor.untyped_storage()
        begin = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (storage.data_ptr() + storage.nbytes()) // mmap.PAGESIZE * mmap.PAGESIZE
        if begin < end:
            madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def _on_cpu(model: nn.Module) -> Iterator[Tensor]:
    """Weights and their gradients that have memory of this process."""
    for weight in model.parameters():
        for tensor in (weight, weight.grad):
            if tensor is not None and type(tensor.data) is Tensor and tensor.device.type == 'cpu':
                yield tensor
