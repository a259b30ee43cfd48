"""Normalisation between a frozen backbone and a linear head."""

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.registry import MODELS


@MODELS.register_module()
class MapNorm(BaseModule):
    """Neck that normalises each feature map and does nothing else.

    Features of a frozen MAE differ much in scale between channels, so linear evaluation puts a
    BatchNorm before its linear layer (MAE, appendix A.1; DINOv2's segmentation head).

    Args:
        in_channels: Channels of each map.
        norm_cfg: The norm; batch statistics over all GPUs by default.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type='SyncBN')
        self.norms = nn.ModuleList(build_norm_layer(norm_cfg, width)[1] for width in in_channels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Normalise maps (B, C, h, w).

        Raises:
            UserError: If there are more or fewer maps than ``in_channels``.
        """
        if len(inputs) != len(self.norms):
            raise UserError(
                f'{len(inputs)} maps for {len(self.norms)} in_channels: give one for each of the '
                "backbone's out_indices"
            )
        return tuple(norm(x) for norm, x in zip(self.norms, inputs))
