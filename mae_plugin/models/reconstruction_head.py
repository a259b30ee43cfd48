"""The predictor after the decoder and the masked reconstruction loss (section 3)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mae_plugin.compat import is_autocast_available
from mae_plugin.errors import UserError
from mae_plugin.registry import MODELS

from .block import init_linear_and_norm
from .parts import build_part
from .targets import PixelTarget

_LOSSES = {'l2': F.mse_loss, 'l1': F.l1_loss}


@MODELS.register_module()
class ReconstructionHead(BaseModule):
    """Linear predictor of a target, and its loss averaged over the patches it is given.

    Args:
        in_dims: Width of the decoder.
        patch_size: p, handed on to a target whose config leaves it out.
        in_channels: C, likewise.
        mean: Of the images as they were before the data preprocessor, likewise.
        std: Of the same images, likewise.
        target: Config of the target: ``PixelTarget``, ``PCATarget``, ``TokenTarget``,
            ``TeacherTarget``, or a module of your own with ``dims``, the values to predict for
            each patch.
        loss: 'l2' (the paper's) or 'l1'. Tokens are always predicted by cross-entropy.

    Raises:
        UserError: If ``loss`` is unknown, or the target has no ``dims``.
    """

    def __init__(
        self,
        in_dims: int = 512,
        target: dict | nn.Module | None = None,
        loss: str = 'l2',
        patch_size: int = 16,
        in_channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if loss not in _LOSSES:
            raise UserError(f"unknown loss '{loss}': choose one of {', '.join(_LOSSES)}")
        facts = dict(patch_size=patch_size, in_channels=in_channels, mean=mean, std=std)
        self.target = build_part(
            target or dict(type=PixelTarget),
            **{name: fact for name, fact in facts.items() if fact is not None},
        )
        if not hasattr(self.target, 'dims'):
            raise UserError(
                f'{type(self.target).__name__} has no attribute dims: a target says how many '
                'values it has for each patch'
            )
        self.regression_loss = _LOSSES[loss]
        self.pred = nn.Linear(in_dims, self.target.dims)

    def init_weights(self) -> None:
        """Xavier-uniform, zero bias; a target that has weights loads its own."""
        self.pred.apply(init_linear_and_norm)
        if hasattr(self.target, 'init_weights'):
            self.target.init_weights()
        self._is_init = True

    def forward(self, features: Tensor) -> Tensor:
        """(B, K, in_dims) to predictions (B, K, target.dims)."""
        return self.pred(features)

    def loss(self, predictions: Tensor, images: Tensor, ids: Tensor) -> Tensor:
        """Mean loss over the patches at ``ids``, in float32 whatever the autocast.

        Args:
            predictions: (B, K, target.dims).
            images: (B, C, H, W), normalised.
            ids: (B, K) raster indices of the predicted patches.

        Returns:
            Scalar.

        Raises:
            UserError: If the target is of another shape than the predictions.
        """
        full_precision = _full_precision(images.device.type)
        keeps_autocast = getattr(self.target, 'keeps_autocast', False)
        with nullcontext() if keeps_autocast else full_precision:
            target = self.target(images, ids)
        with full_precision:
            # float32, or float64 of a model in that.
            predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
            if getattr(self.target, 'is_classification', False):
                return F.cross_entropy(predictions.flatten(0, 1), target.flatten())
            if target.shape != predictions.shape:
                raise UserError(
                    f'{type(self.target).__name__} gave a target of shape {tuple(target.shape)} '
                    f'for predictions of shape {tuple(predictions.shape)} (images, patches, dims)'
                )
            return self.regression_loss(predictions, target)


def _full_precision(device_type: str) -> AbstractContextManager:
    """No autocast: PCA coefficients and a tokenizer's choice would be rounded."""
    if is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
