"""MAE's decoder: a shallow transformer over visible tokens and mask tokens (section 3)."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid, image_size, patch_grid
from mae_plugin.registry import MODELS

from .block import Block, init_linear_and_norm, run_block
from .decoder_positions import DecoderPositions
from .layer_mixture import InLayers, LayerFusion


@MODELS.register_module()
class MAEDecoder(BaseModule):
    """Self-attention decoder of any depth and width.

    Tokens stay in shuffled order, visible ones first: attention does not care, so nothing is
    restored. The last block is computed for the tokens to be predicted alone.

    Args:
        in_dims: Width of the encoder.
        embed_dims: Width of the decoder (paper: 512).
        depth: Blocks (paper: 8).
        num_heads: Attention heads (paper: 16).
        img_size: Image side or (H, W) of the position embeddings; others are resized.
        patch_size: p.
        mlp_ratio: Hidden width of the MLPs over ``embed_dims``.
        with_mask_token: False when the encoder sees mask tokens itself (Table 1c).
        in_layers: What is read of the encoder. 1: its last tokens. The numbers of blocks, from 0
            to the last, such as (0, 2, 4, 6, 8, 11): the fusion of what they give (MFF); or
            how many of the last ones. See :class:`~mae_plugin.models.layer_mixture.LayerFusion`.
        use_checkpoint: Recompute activations in the backward pass.
        num_prefix_tokens: The encoder's class and register tokens, each with a row of its own;
            handed on by the MAE.
        positions: Config of the positions: ``SinCosPositions`` (the default), or
            ``LearnedPositions``.

    Raises:
        UserError: If ``depth`` is below 1, or ``in_layers`` names no block.
    """

    def __init__(
        self,
        in_dims: int = 768,
        embed_dims: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        img_size: int | Grid = 224,
        patch_size: int = 16,
        mlp_ratio: float = 4.0,
        with_mask_token: bool = True,
        in_layers: InLayers = 1,
        use_checkpoint: bool = False,
        num_prefix_tokens: int = 1,
        positions: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth < 1:
            raise UserError(f'decoder depth={depth}: needs at least one block')
        self.in_layers = in_layers if isinstance(in_layers, int) else tuple(in_layers)
        count = in_layers if isinstance(in_layers, int) else len(in_layers)
        if count < 1:
            raise UserError(f'in_layers={in_layers}: needs at least the last of the encoder')
        self.fusion = LayerFusion(in_dims, count) if self.in_layers != 1 else None
        self.embed_dims = embed_dims
        self.grid = patch_grid(image_size(img_size), patch_size)
        self.use_checkpoint = use_checkpoint
        self.embed = nn.Linear(in_dims, embed_dims)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dims)) if with_mask_token else None
        self.num_prefix_tokens = num_prefix_tokens
        self.positions = DecoderPositions(
            positions, embed_dims, num_heads, self.grid, num_prefix_tokens
        )
        self.pos_embed = self.positions.new_table()
        self.blocks = nn.ModuleList(Block(embed_dims, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)

    def init_weights(self) -> None:
        """Initialise as the official code does; the mask token is normal(0, .02)."""
        self.apply(init_linear_and_norm)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)
        self.positions.part.reset(self.pos_embed)
        self._is_init = True

    def forward(
        self,
        tokens: Tensor,
        ids_keep: Tensor,
        ids_masked: Tensor,
        grid: Grid,
        num_predict: int | None = None,
    ) -> Tensor:
        """Decode encoder tokens and mask tokens.

        Args:
            tokens: (B, P + K, D) from the encoder, P prefix tokens first; with ``in_layers``
                their fusion, which the MAE makes with ``fusion`` and the encoder's final norm.
            ids_keep: (B, K) raster positions of the others.
            ids_masked: (B, M) positions that get the mask token; M may be 0.
            grid: Patch grid (h, w).
            num_predict: How many of the last patches to predict; all K + M when None.

        Returns:
            Features (B, num_predict, embed_dims) of the last patches in the order
            [ids_keep, ids_masked].
        """
        num_prefix = tokens.shape[1] - ids_keep.shape[1]
        rows = self.positions.rows(self.pos_embed, grid)
        x = self.embed(tokens) + self.positions.of_tokens(rows, ids_keep, num_prefix)
        if self.mask_token is not None:
            masked = self.mask_token + self.positions.of_patches(rows, ids_masked)
            x = torch.cat([x, masked], dim=1)
        if num_predict is None:
            num_predict = x.shape[1] - num_prefix
        for block in self.blocks[:-1]:
            x = run_block(block, x, self.use_checkpoint)
        x = run_block(self.blocks[-1], x, self.use_checkpoint, queries=num_predict)
        return self.norm(x)
