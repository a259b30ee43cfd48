"""Layer normalisation of feature maps."""

import torch.nn.functional as F
from torch import Tensor, nn

from mae_plugin.registry import MODELS


@MODELS.register_module()
class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each cell of a map; a ``norm_cfg`` type for hosts' layers.

    Runs without a copy on maps whose memory is channels-last, and its output's memory is.

    Args:
        num_channels: C.
        eps: Added to the variance.
        kwargs: As for ``nn.LayerNorm``.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6, **kwargs) -> None:
        super().__init__(num_channels, eps, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)
