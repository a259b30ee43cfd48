"""Necks that turn the single scale of a plain ViT into the scales that detectors want."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.models.dense.layer_norm import LayerNorm2d
from mae_plugin.registry import MODELS

Maps = Sequence[Tensor]


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """ViTDet's neck (Li et al. 2022): all scales from the backbone's last map.

    Each map is scaled up or down, then projected by a 1x1 and smoothed by a 3x3 convolution
    without biases, each followed by a LayerNorm.

    Args:
        in_channels: Width D of the backbone.
        out_channels: Width of all outputs.
        scales: Sizes of the outputs relative to the input: 4, 2, 1 and 0.5 turn stride 16 into
            4, 8, 16 and 32.
        num_outs: Outputs wanted; those beyond ``scales`` are the last one subsampled by 2 (p6).
        init_cfg: mmengine's.

    Raises:
        UserError: If a scale is none of those, or there are fewer ``num_outs`` than ``scales``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int = 5,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_outs < len(scales):
            raise UserError(f'num_outs={num_outs} is less than the {len(scales)} scales')
        widths: dict[float, int] = {4: in_channels // 4, 2: in_channels // 2}
        self.in_channels = in_channels
        self.num_outs = num_outs
        self.levels = nn.ModuleList(
            nn.Sequential(
                rescale(scale, in_channels, LayerNorm2d, halve_width=True),
                nn.Conv2d(widths.get(scale, in_channels), out_channels, 1, bias=False),
                LayerNorm2d(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels),
            )
            for scale in scales
        )

    def forward(self, inputs: Tensor | Maps) -> tuple[Tensor, ...]:
        """Build the pyramid.

        Args:
            inputs: The backbone's maps, of which the last, (B, D, h, w), is used; or that map.

        Returns:
            ``num_outs`` maps (B, out_channels, h', w'), finest first, contiguous: mmcv's
            RoIAlign misreads channels-last maps.

        Raises:
            UserError: If the map's width is not ``in_channels``.
        """
        x = inputs if isinstance(inputs, Tensor) else inputs[-1]
        check_width(self, x)
        outs = [level(x).contiguous() for level in self.levels]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)


@MODELS.register_module()
class BlockGroupPyramid(BaseModule):
    """First half of the MAE paper's detector neck: one scale from each of four block groups.

    The maps after each quarter of the blocks are scaled to strides 4, 8, 16 and 32, at full width
    (Li et al. 2021, "Benchmarking Detection Transfer Learning with Vision Transformers"; XCiT).
    An ordinary FPN follows: ``neck=[dict(type='mae_plugin.BlockGroupPyramid', ...),
    dict(type='FPN', ...)]``. mmseg's ``Feature2Pyramid`` does the same.

    Args:
        in_channels: Width D of the backbone.
        scales: Size of each output relative to its input: 4, 2, 1 or 0.5.
        norm_cfg: Norm between the two steps of the scale 4; 'SyncBN' when training on GPUs.
        init_cfg: mmengine's.

    Raises:
        UserError: If a scale is none of those.
    """

    def __init__(
        self,
        in_channels: int,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        norm_cfg = norm_cfg or dict(type='BN')
        self.levels = nn.ModuleList(
            rescale(scale, in_channels, lambda width: build_norm_layer(norm_cfg, width)[1])
            for scale in scales
        )

    def forward(self, inputs: Maps) -> tuple[Tensor, ...]:
        """Scale each map.

        Args:
            inputs: As many maps (B, D, h, w) as ``scales``, shallowest first.

        Returns:
            Maps (B, D, h', w'), finest first.

        Raises:
            UserError: If there are more or fewer maps than scales, or a map's width is not
                ``in_channels``.
        """
        if len(inputs) != len(self.levels):
            raise UserError(
                f"{len(inputs)} maps for {len(self.levels)} scales: set the backbone's "
                'out_indices to the last blocks of as many groups'
            )
        for x in inputs:
            check_width(self, x)
        return tuple(level(x) for level, x in zip(self.levels, inputs))


def check_width(neck: SimpleFeaturePyramid | BlockGroupPyramid, x: Tensor) -> None:
    """Refuse a map (B, D, h, w) of another width than the neck was made for.

    Raises:
        UserError: If D is not the neck's ``in_channels``.
    """
    if x.shape[1] != neck.in_channels:
        raise UserError(
            f"{type(neck).__name__} has in_channels={neck.in_channels}, but the backbone's maps "
            f'are {x.shape[1]} wide: set neck.in_channels={x.shape[1]}'
        )


def rescale(
    scale: float,
    width: int,
    norm: Callable[[int], nn.Module],
    halve_width: bool = False,
) -> nn.Module:
    """Layers that scale a map up by transposed convolutions, or down by max-pooling.

    Args:
        scale: 4, 2, 1 or 0.5.
        width: Channels of the map.
        norm: Makes the norm between the two steps of the scale 4.
        halve_width: Whether each step up halves the width.

    Raises:
        UserError: If the scale is none of those.
    """
    half = width // 2 if halve_width else width
    if scale == 4:
        quarter = half // 2 if halve_width else half
        return nn.Sequential(
            nn.ConvTranspose2d(width, half, 2, stride=2),
            norm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )
    if scale == 2:
        return nn.ConvTranspose2d(width, half, 2, stride=2)
    if scale == 1:
        return nn.Identity()
    if scale == 0.5:
        # An odd row or column is kept, so that small maps never vanish.
        return nn.MaxPool2d(2, ceil_mode=True)
    raise UserError(f'scale={scale}: choose 4, 2, 1 or 0.5')
