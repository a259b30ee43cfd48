"""What data workers inherit from the process that began them, and have no use for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mae_plugin.engine.cpu_tuning import return_freed_memory


class LeanInit:
    """A ``worker_init_fn`` that lets go of the model and of free memory in a forked worker.

    A forked worker shares the model's memory with the run until the optimizer changes the weights.
    From then on the worker alone holds what they were: 0.4 GB of ViT-B, for as long as it lives,
    where a CPU trains. Here its weights become empty, so that whoever uses them by mistake gets
    an error. Workers that are started in another way inherit nothing, and nothing is done there.

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
            for weight in self.model.parameters():
                # A GPU must not be touched in a forked process, and takes no memory here.
                if type(weight.data) is Tensor and weight.device.type == 'cpu':
                    weight.grad = None
                    weight.data = torch.empty(0)
            return_freed_memory()
        if self.inner is not None:
            self.inner(worker)
