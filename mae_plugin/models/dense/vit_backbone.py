"""The trunk as a backbone for dense prediction: detection and segmentation."""

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from numbers import Integral
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mae_plugin.arch import Arch
from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid, ceil_div, image_size, patch_grid, whole_number
from mae_plugin.models.block import run_block
from mae_plugin.models.dense.dense_attention import DenseAttention
from mae_plugin.models.freeze import freeze
from mae_plugin.models.vit import ViT
from mae_plugin.registry import MODELS


@MODELS.register_module()
class ViTBackbone(ViT):
    """ViT that returns feature maps, for mmdet, mmseg and mmpretrain alike.

    Images of any size: zero-padded at the bottom and the right to whole patches, with the
    position embeddings resized to their grid.

    Args:
        arch: As for ``ViT``.
        img_size: Image side, or (H, W), at which the position embeddings were pretrained.
        out_indices: Blocks whose outputs are returned, each as often as it is named; negative
            ones count from the last. Blocks after the last of these are not run or trained.
        window_size: Side, in patches, of the windows in which blocks attend; 0 for none.
        global_attn_indexes: Blocks that attend globally in spite of ``window_size``.
        rel_pos_img_size: Image side, or (H, W), at which the decomposed relative positions of
            global blocks are made (windows have their own size); None for none.
        final_norm: Whether the last block's output is normalised.
        kwargs: All else is ``ViT``'s.

    Raises:
        UserError: If an index names no block, windows meet a class token or rotary positions, or
            an argument is unknown.
    """

    def __init__(
        self,
        arch: str | dict | Arch = 'base',
        img_size: int | Grid | None = None,
        out_indices: int | Sequence[int] = (-1,),
        window_size: int = 0,
        global_attn_indexes: Sequence[int] = (),
        rel_pos_img_size: int | Grid | None = None,
        final_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_unknown(kwargs)
        super().__init__(arch, img_size, final_norm=final_norm, **kwargs)
        if window_size:
            window_size = whole_number('window_size', window_size)
        if window_size and self.pos_embed is None:
            raise UserError(
                f'window_size={window_size} with rotary positions: no family was trained so, and '
                'features would be other than its own; set window_size=0'
            )
        if window_size and self.num_prefix_tokens:
            raise UserError(
                f'window_size={window_size} leaves no place for a class token: set '
                "with_cls_token=False (a checkpoint's is left out) and num_register_tokens=0, or "
                'window_size=0'
            )
        self.out_indices = self._block_indices('out_indices', out_indices)
        if not self.out_indices:
            raise UserError('out_indices is empty: name one block or more, such as -1, the last')
        is_global = self._block_indices('global_attn_indexes', global_attn_indexes)
        rel_pos_grid = None
        if rel_pos_img_size is not None:
            size = image_size(rel_pos_img_size, 'rel_pos_img_size')
            rel_pos_grid = patch_grid(size, self.patch_size)
        for index, block in enumerate(self.blocks):
            side = 0 if index in is_global else window_size
            grid = (side, side) if side and rel_pos_grid else rel_pos_grid
            block.attn = DenseAttention(block.attn, side, grid)
        freeze(self, self.frozen_stages)
        # DistributedDataParallel stops at trained parameters that get no gradient.
        for part in self.blocks[self.out_indices[-1] + 1 :]:
            part.requires_grad_(False)
        if self.out_indices[-1] + 1 < self.num_layers:
            self.norm.requires_grad_(False)

    def _block_indices(self, name: str, indices: int | Sequence[int]) -> tuple[int, ...]:
        """Non-negative, sorted indices of blocks."""
        named = indices if isinstance(indices, Iterable) else (indices,)
        if isinstance(named, (Mapping, str)) or not all(isinstance(i, Integral) for i in named):
            raise UserError(f'{name}={indices!r}: give numbers of blocks, such as (3, 5, 7, 11)')
        wrong = [i for i in named if not -self.num_layers <= i < self.num_layers]
        if wrong:
            raise UserError(
                f'{name}={tuple(named)}: {wrong} name no block of {self.num_layers}; give '
                f'numbers from 0 to {self.num_layers - 1}, or negative ones from the last'
            )
        return tuple(sorted(int(i) % self.num_layers for i in named))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Feature maps of the chosen blocks.

        Args:
            images: (B, C, H, W), normalised; any H and W.

        Returns:
            One map (B, D, ceil(H / p), ceil(W / p)) for each of ``out_indices``, in the blocks'
            order; a block named twice gives the same tensor twice. Contiguous: mmcv's RoIAlign
            misreads channels-last maps.
        """
        p = self.patch_size
        height, width = images.shape[2:]
        grid = h, w = ceil_div(height, p), ceil_div(width, p)
        images = F.pad(images, (0, w * p - width, 0, h * p - height))
        x = self.positions.add(self.patch_embed(images), self.pos_embed, grid, None)
        x = self.prepend_prefix_tokens(x)
        extras = self.positions.for_attention(grid, None, self.num_prefix_tokens)
        maps: list[Tensor] = []
        for index, block in enumerate(self.blocks[: self.out_indices[-1] + 1]):
            recompute = self.use_checkpoint and index >= int(self.frozen_stages)
            x = run_block(block, x, recompute, grid=grid, **extras)
            if index in self.out_indices:
                out = self.norm(x) if index == self.num_layers - 1 else x
                out = out[:, self.num_prefix_tokens :].transpose(1, 2).contiguous()
                maps += [out.unflatten(2, grid)] * self.out_indices.count(index)
        return tuple(maps)


def refuse_unknown(kwargs: dict[str, Any]) -> None:
    """Refuse what ``ViT`` does not take: its own error would name neither class nor choice.

    Raises:
        UserError: If there is such an argument; it names those that there are.
    """
    inherited = signature(ViT).parameters
    unknown = [name for name in kwargs if name not in inherited]
    if unknown:
        known = {*signature(ViTBackbone).parameters, *inherited} - {'kwargs'}
        raise UserError(
            f'ViTBackbone has no argument {", ".join(unknown)}: choose from '
            f'{", ".join(sorted(known))}'
        )
