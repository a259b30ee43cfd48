"""The trunk as a backbone for dense prediction: detection and segmentation."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.utils import to_2tuple
from torch import Tensor

from mae_plugin.compat import is_compiling
from mae_plugin.geometry import Grid, patch_grid
from mae_plugin.models.block import run_block
from mae_plugin.models.dense.dense_attention import DenseAttention
from mae_plugin.models.freeze import freeze
from mae_plugin.models.vit import ViT
from mae_plugin.registry import MODELS

# Multi-scale runs meet few grids; more than this many tables at a time are not kept.
_MAX_CACHED_GRIDS = 16


@MODELS.register_module()
class ViTBackbone(ViT):
    """ViT that returns feature maps, for mmdet, mmseg and mmpretrain alike.

    Images of any size: zero-padded at the bottom and the right to whole patches, with the
    position embeddings resized to their grid.

    Args:
        arch: As for ``ViT``.
        img_size: Image side, or (H, W), at which the position embeddings were pretrained.
        out_indices: Blocks whose outputs are returned, each as often as it is named; negative
            ones count from the last.
        window_size: Side, in patches, of the windows in which blocks attend; 0 for none.
        global_attn_indexes: Blocks that attend globally in spite of ``window_size``.
        rel_pos_img_size: Image side, or (H, W), at which the decomposed relative positions of
            global blocks are made (windows have their own size); None for none.
        explicit_bias: Compute relative positions with a materialised bias matrix: the reference
            to test against.
        final_norm: Whether the last block's output is normalised.
        kwargs: All else is ``ViT``'s. Position embeddings are resized once per grid and cached,
            those that are trained (``train_pos_embed=True``) in evaluation without gradients.

    Raises:
        ValueError: If an index names no block, windows meet a class token, or an argument is
            unknown.
    """

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | Grid = 224,
        out_indices: int | Sequence[int] = (-1,),
        window_size: int = 0,
        global_attn_indexes: Sequence[int] = (),
        rel_pos_img_size: int | Grid | None = None,
        explicit_bias: bool = False,
        final_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_unknown(kwargs)
        super().__init__(arch, img_size, final_norm=final_norm, **kwargs)
        if window_size and self.cls_token is not None:
            raise ValueError(
                f'window_size={window_size} leaves no place for a class token: set '
                "with_cls_token=False (a checkpoint's is left out), or window_size=0"
            )
        indices = [out_indices] if isinstance(out_indices, int) else out_indices
        self.out_indices = self._block_indices('out_indices', indices)
        is_global = self._block_indices('global_attn_indexes', global_attn_indexes)
        rel_pos_grid = None
        if rel_pos_img_size is not None:
            height, width = to_2tuple(rel_pos_img_size)
            rel_pos_grid = patch_grid((height, width), self.patch_size)
        for index, block in enumerate(self.blocks):
            size = 0 if index in is_global else window_size
            grid = (size, size) if size and rel_pos_grid else rel_pos_grid
            block.attn = DenseAttention(block.attn, size, grid, explicit_bias)
        self._position_cache: dict[Grid, tuple[tuple, Tensor, Tensor]] = {}
        freeze(self, self.frozen_stages)

    def _block_indices(self, name: str, indices: Sequence[int]) -> tuple[int, ...]:
        """Non-negative, sorted indices of blocks."""
        wrong = [i for i in indices if not -self.num_layers <= i < self.num_layers]
        if wrong:
            raise ValueError(
                f'{name}={tuple(indices)}: {wrong} name no block of {self.num_layers}; give '
                f'numbers from 0 to {self.num_layers - 1}, or negative ones from the last'
            )
        return tuple(sorted(i % self.num_layers for i in indices))

    def positions(self, grid: Grid, ids: Tensor | None = None) -> Tensor:
        """As ``ViT.positions``; tables that need no gradient are cached by grid."""
        table = self.pos_embed
        is_trained = table.requires_grad and (self.training or torch.is_grad_enabled())
        is_traced = is_compiling()
        if is_trained and not is_traced:
            # A step may follow, and fused optimizers leave the version as it is.
            self._position_cache.clear()
        uncached = is_trained or is_traced or table.is_inference()
        if uncached or ids is not None or tuple(grid) == self.grid:
            return super().positions(grid, ids)
        # Loading and stepping change the version, moving the address.
        state = (table.device, table.dtype, table.data_ptr(), table._version)
        cached = self._position_cache.get(grid)
        if cached is None or cached[0] != state:
            if len(self._position_cache) >= _MAX_CACHED_GRIDS:
                self._position_cache.clear()
            # A table made in inference mode could not be used in training.
            with torch.inference_mode(False), torch.no_grad():
                # The old table is kept alive, so that no other can have its address.
                cached = state, super().positions(grid), table.detach()
            self._position_cache[grid] = cached
        return cached[1]

    def train(self, mode: bool = True) -> 'ViTBackbone':
        """As usual; positions that were swapped behind the version's back are resized anew."""
        self._position_cache.clear()
        super().train(mode)
        return self

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
        images = F.pad(images, (0, -images.shape[3] % p, 0, -images.shape[2] % p))
        grid = patch_grid(images.shape[-2:], p)
        x = self.prepend_cls_token(self.patch_embed(images) + self.positions(grid))
        maps: list[Tensor] = []
        for index, block in enumerate(self.blocks[: self.out_indices[-1] + 1]):
            recompute = self.use_checkpoint and index >= int(self.frozen_stages)
            x = run_block(block, x, recompute, grid=grid)
            if index in self.out_indices:
                out = self.norm(x) if index == self.num_layers - 1 else x
                out = out[:, self.num_prefix_tokens :].transpose(1, 2).contiguous()
                maps += [out.unflatten(2, grid)] * self.out_indices.count(index)
        return tuple(maps)


def refuse_unknown(kwargs: dict[str, Any]) -> None:
    """Refuse what ``ViT`` does not take: its own error would name neither class nor choice.

    Raises:
        ValueError: If there is such an argument; it names those that there are.
    """
    inherited = signature(ViT).parameters
    unknown = [name for name in kwargs if name not in inherited]
    if unknown:
        known = {*signature(ViTBackbone).parameters, *inherited} - {'kwargs'}
        raise ValueError(
            f'ViTBackbone has no argument {", ".join(unknown)}: choose from '
            f'{", ".join(sorted(known))}'
        )
