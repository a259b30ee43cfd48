"""Features of a frozen encoder as the target (MILAN, EVA, MaskDistill): distillation by masks.

Papers: MILAN (Hou et al. 2022, arXiv 2208.06049), EVA (Fang et al. 2022, arXiv 2211.07636),
"A Unified View of Masked Image Modeling" (Peng et al. 2022, arXiv 2210.10615).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid, image_size, patch_grid
from mae_plugin.registry import MODELS

from .frozen_weights import load_frozen
from .parts import build_part
from .preprocessor import IMAGENET_MEAN, IMAGENET_STD
from .vit import ViT


@MODELS.register_module()
class TeacherTarget(nn.Module):
    """What a frozen encoder says of each patch of the whole image, normalised per patch.

    The teacher is no part of the model's state: a checkpoint does not hold it, an optimizer does
    not see it, and a file that is loaded into the model does not reach it. Its weights come from
    the ``init_cfg`` of its config, also when a run is resumed or a checkpoint is looked at, so
    that file must still be there.

    Args:
        teacher: Config of a ``ViT`` with ``init_cfg=dict(type='Pretrained', checkpoint=FILE)``,
            for any file that our loader reads: a MAE of one's own, DINO, DINOv2, ... Or of any
            registered encoder that gives patch tokens (B, P + h·w, D), with
            ``num_prefix_tokens`` P, or a map (B, D, h, w), or a sequence of which the last is one
            (mmpretrain's). A module is taken as it is, with the weights that it has.
        patch_size: p.
        teacher_size: Image side, or (H, W), that the teacher gets; where its patch grid differs
            from that of the images, its features are resized bilinearly. None: the size at which
            one of its patches falls on each of ours (for patches of 14 and images of 224 px in
            patches of 16: 196), which a ``ViT`` resizes its positions for.
        dims: D, for a teacher without ``embed_dims``.
        mean: The data preprocessor's, to get the raw pixels back (0 to 255); handed on by the MAE.
        std: The same of its deviation.
        teacher_mean: What the teacher wants instead; ImageNet's by default.
        teacher_std: The same of its deviation.

    Raises:
        UserError: If the teacher brings no weights or no width, or takes other channels.
    """

    is_classification = False
    # The teacher sees more patches than the student: it computes in the run's own precision.
    keeps_autocast = True

    def __init__(
        self,
        teacher: dict | nn.Module,
        patch_size: int = 16,
        teacher_size: int | Grid | None = None,
        dims: int | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        teacher_mean: Sequence[float] = IMAGENET_MEAN,
        teacher_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if len(mean) != len(teacher_mean):
            raise UserError(
                f'the images have {len(mean)} channels, the teacher takes {len(teacher_mean)}: '
                'set teacher_mean and teacher_std for a teacher of as many channels'
            )
        encoder = build_part(teacher)
        if isinstance(teacher, dict) and isinstance(encoder, ViT) and not encoder.init_cfg:
            raise UserError(
                'the teacher has random weights, from which nothing is learned: give it '
                "init_cfg=dict(type='Pretrained', checkpoint=FILE)"
            )
        encoder.requires_grad_(False)
        encoder.eval()
        # In a tuple, where it is none of this module's parts.
        self._teacher = (encoder,)
        self._has_weights = isinstance(teacher, nn.Module)
        width: Any = dims or getattr(encoder, 'embed_dims', 0)
        self.dims = int(width)
        if not self.dims:
            raise UserError(f'{type(encoder).__name__} does not say its width: set dims')
        self.patch_size = patch_size
        self.in_channels = len(mean)
        self.teacher_size = None if teacher_size is None else image_size(teacher_size)
        if self.teacher_size is None and not hasattr(encoder, 'patch_size'):
            raise UserError(
                f'{type(encoder).__name__} does not say its patch_size: set teacher_size, the '
                'images that it wants'
            )
        scale = torch.tensor(std) / torch.tensor(teacher_std)
        shift = (torch.tensor(mean) - torch.tensor(teacher_mean)) / torch.tensor(teacher_std)
        self.register_buffer('scale', scale[:, None, None], persistent=False)
        self.register_buffer('shift', shift[:, None, None], persistent=False)

    @property
    def teacher(self) -> nn.Module:
        """The frozen encoder."""
        return self._teacher[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> 'TeacherTarget':
        """Torch's way to move a module to a device: the teacher goes along."""
        self.teacher._apply(fn, *args)
        return super()._apply(fn, *args)

    def init_weights(self) -> None:
        """Load the teacher's weights, once."""
        if not self._has_weights:
            load_frozen(self.teacher)
        self._has_weights = True

    @torch.no_grad()
    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """(B, C, H, W) images and (B, K) raster indices to features (B, K, D).

        Raises:
            UserError: If the teacher gives no such features.
        """
        if not self._has_weights:  # of a model that was loaded from a checkpoint, not trained
            self.init_weights()
        grid = patch_grid(images.shape[-2:], self.patch_size)
        features = self.features(images * self.scale + self.shift, grid)
        features = features.flatten(2).transpose(1, 2)
        features = features.gather(1, ids[:, :, None].expand(-1, -1, self.dims))
        return F.layer_norm(features, (self.dims,), eps=1e-6)

    def features(self, pixels: Tensor, grid: Grid) -> Tensor:
        """The teacher's map (B, D, h, w) of images (B, C, H, W) in its own scale, in float32.

        Raises:
            UserError: If the teacher gives something else.
        """
        teacher = self.teacher
        if self.teacher_size is None:
            size = tuple(side * teacher.patch_size for side in grid)
        else:
            size = self.teacher_size
        if size != tuple(pixels.shape[-2:]):
            pixels = F.interpolate(pixels, size=size, mode='bicubic', antialias=True)
        weight = next(teacher.parameters(), None)
        if weight is not None and weight.device != pixels.device:
            teacher.to(pixels.device)  # FSDP brings only a model's own parts to the device
        out = teacher(pixels)
        if isinstance(out, Sequence):
            out = out[-1]
        if out.dim() == 3:
            out = out[:, getattr(teacher, 'num_prefix_tokens', 0) :].transpose(1, 2)
            theirs = grid if self.teacher_size is None else patch_grid(size, teacher.patch_size)
            out = out.unflatten(2, theirs) if out.shape[2] == theirs[0] * theirs[1] else out
        if out.dim() != 4 or out.shape[1] != self.dims:
            raise UserError(
                f'{type(teacher).__name__} gave features of shape {tuple(out.shape)} for images '
                f'of {size[0]}x{size[1]}: a teacher gives patch tokens (B, h·w, {self.dims}) or a '
                f'map (B, {self.dims}, h, w)'
            )
        out = out.to(torch.promote_types(out.dtype, torch.float32))
        if tuple(out.shape[-2:]) != tuple(grid):
            out = F.interpolate(out, size=grid, mode='bilinear', align_corners=False)
        return out

    def to_pixels(self, predictions: Tensor, images: Tensor, ids: Tensor) -> None:
        """Features have no pixels: None, and no such panel."""
        return None
