"""The model without its wrapper and with whole parameters, for hooks that look at it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel


def inspects_model(model: nn.Module) -> bool:
    """Whether this process looks: rank 0 does, and all do where each holds a part of the model."""
    return is_main_process() or isinstance(model, FullyShardedDataParallel)


@contextmanager
def whole_model(model: nn.Module) -> Iterator[nn.Module]:
    """The model without its wrapper, with whole parameters."""
    # Wrapped blocks gather their own when they run; what lies outside of them is gathered here.
    whole = (
        FullyShardedDataParallel.summon_full_params(model, recurse=False, writeback=False)
        if isinstance(model, FullyShardedDataParallel)
        else nullcontext()
    )
    with whole:
        yield model.module if is_model_wrapper(model) else model
