"""A quick linear probe: logistic regression on frozen features, in seconds and deterministic.

This is the number to follow while pretraining runs. The paper's linear probe, 90 epochs of LARS
with random crops, is ``configs/classification/*linear*``; its accuracies are a little higher.

Shapes: N images, D feature width, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_plugin.errors import UserError


class LinearProbe:
    """Multinomial logistic regression on standardised features, fitted by L-BFGS.

    Standardising stands for the paper's BatchNorm without affine parameters: MAE's features have
    channels of very different scale.

    Args:
        l2: Weight of the squared norm of the weights, beside the mean cross-entropy. In
            scikit-learn's terms ``C = 1 / (l2 · N)``.
        max_iter: L-BFGS iterations.
    """

    def __init__(self, l2: float = 1e-3, max_iter: int = 200) -> None:
        self.l2 = l2
        self.max_iter = max_iter

    def fit(self, features: Tensor, labels: Tensor, num_classes: int) -> 'LinearProbe':
        """Fit on features (N, D) and labels (N,).

        Raises:
            UserError: If there is no image, or a label is outside [0, ``num_classes``).
        """
        if not len(labels) or labels.min() < 0 or labels.max() >= num_classes:
            raise UserError(
                f'{len(labels)} labels do not fit num_classes={num_classes}: the probe needs at '
                'least one image and labels from 0 to num_classes - 1'
            )
        variance, self.mean = torch.var_mean(features, dim=0, unbiased=False)
        self.std = (variance + 1e-6).sqrt()
        x = self._standardise(features)
        self.weight = x.new_zeros(num_classes, x.shape[1], requires_grad=True)
        self.bias = x.new_zeros(num_classes, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [self.weight, self.bias],
            max_iter=self.max_iter,
            tolerance_grad=1e-6,
            history_size=10,
            line_search_fn='strong_wolfe',
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(F.linear(x, self.weight, self.bias), labels)
            loss = loss + 0.5 * self.l2 * self.weight.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        self.weight.requires_grad_(False)
        self.bias.requires_grad_(False)
        return self

    def _standardise(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Features (N, D) to logits (N, C)."""
        return F.linear(self._standardise(features), self.weight, self.bias)
