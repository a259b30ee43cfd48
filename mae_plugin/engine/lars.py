"""LARS as the official MAE code has it, for linear probing with very large batches."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mae_plugin.errors import UserError
from mae_plugin.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017): no trust ratio for biases and norms.

    For a tensor p of two or more dimensions with gradient g, the update direction is
    ``d = g + weight_decay · p``, scaled by ``trust_coefficient · |p| / |d|`` (by 1 where a norm is
    zero). Tensors of one dimension or less take their gradient as it is: no decay, no trust
    ratio. Then ``m = momentum · m + d`` and ``p = p - lr · m``, so that a change of the learning
    rate takes effect at once.

    mmpretrain's LARS differs: the learning rate is inside the momentum, and tensors of one
    dimension get a trust ratio unless their group says ``lars_exclude``.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate; the paper's linear probe has 0.1 × batch / 256.
        weight_decay: Decay of tensors of two or more dimensions (linear probe: 0).
        momentum: Momentum (0.9).
        trust_coefficient: Factor of the trust ratio (0.001).

    Raises:
        UserError: If a value is negative.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.1,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
    ) -> None:
        options = dict(
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            trust_coefficient=trust_coefficient,
        )
        for name, value in options.items():
            if value < 0:
                raise UserError(f'LARS: {name}={value} must not be negative')
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group['params']:
                if param.grad is not None:
                    self._update(param, param.grad, group)
        return loss

    def _update(self, param: Tensor, direction: Tensor, group: dict) -> None:
        if param.ndim > 1:
            direction = direction.add(param, alpha=group['weight_decay'])
            ratio = group['trust_coefficient'] * param.norm() / direction.norm()
            usable = ratio.isfinite() & (ratio > 0)
            direction = direction * torch.where(usable, ratio, 1.0)
        state = self.state[param]
        if not state:
            state['momentum'] = torch.zeros_like(param)
        state['momentum'].mul_(group['momentum']).add_(direction)
        param.add_(state['momentum'], alpha=-group['lr'])
