"""Optimizer wrappers that make no step from a loss or a gradient that is not finite."""

import math
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from torch import Tensor

from mae_plugin.compat import gradient_norms, step_unless
from mae_plugin.registry import OPTIM_WRAPPERS


class SkipNonFiniteMixin:
    """Mix-in for a subclass of mmengine's ``OptimWrapper``, before it among the bases.

    A loss that is not finite makes every gradient NaN, so that the averaging of gradients tells
    the other processes; all skip the same step. Fused optimizers skip inside their kernel, without
    waiting for the device. ``NonFiniteGuard`` counts and tells what was skipped.

    Example:
        >>> @OPTIM_WRAPPERS.register_module()
        >>> class MyOptimWrapper(SkipNonFiniteMixin, OptimWrapper):
        >>>     ...
    """

    optimizer: torch.optim.Optimizer
    _bad: Tensor | None = None

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Backward pass; the gradients of a loss that is not finite are all NaN."""
        # Times one is exact; times NaN turns every gradient into NaN, on every process.
        factor = torch.where(torch.isfinite(loss.detach()), 1.0, math.nan).to(loss.dtype)
        super().backward(loss * factor, **kwargs)  # type: ignore[misc]

    def step(self, **kwargs: Any) -> None:
        """One step, or none where a gradient on any process is not finite."""
        bad = self._bad = _any_bad(self.optimizer)
        make_step: Any = super().step  # type: ignore[misc]
        step_unless(bad, self.optimizer, lambda: make_step(**kwargs))

    def take_skipped(self) -> Tensor | None:
        """Whether the last step was skipped, on the device; None if none was due since."""
        bad, self._bad = self._bad, None
        return bad


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(SkipNonFiniteMixin, MMEngineOptimWrapper):
    """mmengine's ``OptimWrapper``, which skips steps that are not finite."""


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(SkipNonFiniteMixin, MMEngineAmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, which tells what its gradient scaler skips.

    While the scaler looks for its scale, it skips steps too.
    """

    def step(self, **kwargs: Any) -> None:
        """One step, or none: the scaler finds the same, skips, and lowers its scale."""
        self._bad = _any_bad(self.optimizer)
        super(SkipNonFiniteMixin, self).step(**kwargs)


def _any_bad(optimizer: torch.optim.Optimizer) -> Tensor:
    """() float32 on the gradients' device: 1 if any gradient on any process is not finite."""
    params = [param for group in optimizer.param_groups for param in group['params']]
    grads = [param.grad for param in params if param.grad is not None]
    if not grads:
        return torch.zeros((), device=params[0].device)
    bad = (~torch.isfinite(gradient_norms(grads).sum())).float()
    if get_world_size() > 1:
        all_reduce(bad, op='max')
    return bad
