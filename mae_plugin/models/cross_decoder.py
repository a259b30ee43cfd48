"""The cheaper decoder of CrossMAE (Fu et al. 2024): masked queries look at visible tokens."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid, image_size, patch_grid
from mae_plugin.registry import MODELS

from .block import Block, init_linear_and_norm, run_block, split_heads
from .decoder_positions import DecoderPositions
from .layer_mixture import mix_layers


class CrossAttention(nn.Module):
    """Multi-head attention from queries to other tokens, through PyTorch's fused kernels.

    Args:
        embed_dims: Width D.
        num_heads: Heads; must divide D.

    Raises:
        UserError: If ``num_heads`` does not divide ``embed_dims``.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise UserError(f'num_heads={num_heads} does not divide embed_dims={embed_dims}')
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims, embed_dims)
        self.kv = nn.Linear(embed_dims, embed_dims * 2)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """Queries (B, N, D) attend to visible tokens (B, K, D): (B, N, D)."""
        parts = (self.q(x), *self.kv(visible).chunk(2, dim=2))
        q, k, v = (split_heads(part, self.num_heads) for part in parts)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))


@MODELS.register_module()
class CrossAttentionDecoder(BaseModule):
    """Decoder in which each predicted patch attends to the visible tokens alone.

    A query is the mask token plus its position. Queries do not see each other, so a patch's
    prediction does not depend on which others are predicted, and a part of the masked patches
    may be left out of the loss: ``MAE(prediction_ratio=...)``. The cost grows with the predicted
    patches instead of with all of them.

    As in the paper each block is cross-attention and an MLP, without self-attention, and reads a
    learned mixture of the encoder's layers of its own ("inter-block attention"). Unlike in the
    official code the mixtures are embedded, with positions, as ``MAEDecoder`` does.

    Args:
        in_dims: Width of the encoder.
        embed_dims: Width of the decoder (paper: 512).
        depth: Blocks (paper: 12).
        num_heads: Attention heads (paper: 16).
        img_size: Image side or (H, W) of the position embeddings; others are resized.
        patch_size: p.
        mlp_ratio: Hidden width of the MLPs over ``embed_dims``.
        in_layers: How many of the encoder's last blocks are mixed (paper: all 12); with 1 all
            blocks read the encoder's last tokens.
        use_checkpoint: Recompute activations in the backward pass.
        num_prefix_tokens: The encoder's class and register tokens, each with a row of its own;
            handed on by the MAE.
        positions: Config of the positions: ``SinCosPositions`` (the default), or
            ``LearnedPositions``.

    Raises:
        UserError: If ``depth`` or ``in_layers`` is below 1.
    """

    predicts_independently = True

    def __init__(
        self,
        in_dims: int = 768,
        embed_dims: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        img_size: int | Grid = 224,
        patch_size: int = 16,
        mlp_ratio: float = 4.0,
        in_layers: int = 1,
        use_checkpoint: bool = False,
        num_prefix_tokens: int = 1,
        positions: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth < 1:
            raise UserError(f'decoder depth={depth}: needs at least one block')
        if in_layers < 1:
            raise UserError(f'in_layers={in_layers}: needs at least the last of the encoder')
        self.in_layers = in_layers
        self.embed_dims = embed_dims
        self.grid = patch_grid(image_size(img_size), patch_size)
        self.use_checkpoint = use_checkpoint
        self.embed = nn.Linear(in_dims, embed_dims)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.num_prefix_tokens = num_prefix_tokens
        self.positions = DecoderPositions(
            positions, embed_dims, num_heads, self.grid, num_prefix_tokens
        )
        self.pos_embed = self.positions.new_table()
        self.mix = nn.Parameter(torch.zeros(depth, in_layers)) if in_layers > 1 else None
        # One norm serves all blocks: each has its own keys and values, which absorb the scales.
        self.norm_visible = nn.LayerNorm(embed_dims, eps=1e-6)
        self.blocks = nn.ModuleList(
            Block(embed_dims, num_heads, mlp_ratio, attn=CrossAttention(embed_dims, num_heads))
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)

    def init_weights(self) -> None:
        """Initialise as MAE's decoder; the mixtures are normal, of variance 1 / in_layers."""
        self.apply(init_linear_and_norm)
        nn.init.normal_(self.mask_token, std=0.02)
        self.positions.part.reset(self.pos_embed)
        if self.mix is not None:
            nn.init.normal_(self.mix, std=self.in_layers**-0.5)
        self._is_init = True

    def forward(
        self,
        tokens: Tensor | list[Tensor],
        ids_keep: Tensor,
        ids_masked: Tensor,
        grid: Grid,
        num_predict: int | None = None,
    ) -> Tensor:
        """Predict patches from encoder tokens.

        Args:
            tokens: (B, P + K, D) from the encoder, P prefix tokens first; a list of these, from
                its last ``in_layers`` blocks, where that is above 1.
            ids_keep: (B, K) raster positions of the others.
            ids_masked: (B, M) positions of the masked patches.
            grid: Patch grid (h, w).
            num_predict: How many of the last patches of [ids_keep, ids_masked] to predict; all
                K + M when None. A visible patch is asked for as a masked one is, by the mask
                token at its position: trained only with ``loss_on='all'``, and else what the
                model extrapolates.

        Returns:
            Features (B, num_predict, embed_dims) of these patches, in that order.
        """
        layers = [tokens] if isinstance(tokens, Tensor) else tokens
        num_prefix = layers[-1].shape[1] - ids_keep.shape[1]
        rows = self.positions.rows(self.pos_embed, grid)
        places = self.positions.of_tokens(rows, ids_keep, num_prefix)
        visible = self.norm_visible(self.embed(self._mixtures(layers)) + places)

        ids = ids_masked
        if num_predict != ids.shape[1]:
            ids = torch.cat([ids_keep, ids_masked], dim=1)
            ids = ids[:, ids.shape[1] - (num_predict or ids.shape[1]) :]
        x = self.mask_token + self.positions.of_patches(rows, ids)
        each = [visible] * len(self.blocks) if self.mix is None else visible.unbind()
        for block, seen in zip(self.blocks, each, strict=True):
            x = run_block(block, x, self.use_checkpoint, visible=seen)
        return self.norm(x)

    def _mixtures(self, layers: list[Tensor]) -> Tensor:
        """What is read: by each block, (depth, B, P + K, D), or by all, (B, P + K, D)."""
        if self.mix is None:
            return layers[-1]
        return mix_layers(self.mix, layers)
