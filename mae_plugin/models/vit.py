"""The Vision Transformer trunk: MAE's encoder, the classifier's backbone, the dense backbone."""

from typing import Any

import torch
from mmengine.model import BaseModule, PretrainedInit, initialize
from torch import Tensor, nn

from mae_plugin.arch import parse_arch
from mae_plugin.checkpoint.load import load_init_cfg
from mae_plugin.checkpoint.spec import TrunkSpec
from mae_plugin.checkpoint.state_dict import translate_state_dict
from mae_plugin.geometry import (
    Grid,
    image_size,
    patch_grid,
    resize_pos_embed,
    sincos_pos_embed,
    whole_number,
)
from mae_plugin.models.patch_embed import PatchEmbed
from mae_plugin.registry import MODELS

from .block import Block, init_linear_and_norm, run_block
from .freeze import check_frozen_stages, freeze


@MODELS.register_module()
class ViT(BaseModule):
    """Vision Transformer with the official MAE checkpoint's parameter names.

    Args:
        arch: 'tiny', 'small', 'base', 'large', 'huge', or a dict with ``embed_dims``,
            ``num_layers``, ``num_heads`` and optionally ``mlp_ratio``.
        img_size: Image side, or (H, W), at which the position embeddings are made. Images of
            other sizes get them resized.
        patch_size: p (H/14 has 14).
        in_channels: C, any number.
        with_cls_token: Whether a class token comes first.
        qkv_bias: Whether the qkv projections have a bias.
        drop_path_rate: Stochastic depth of the last block; earlier blocks get linearly less.
        layer_scale_init: Initial layer scale, None for none (MAE has none).
        final_norm: Whether the last block is followed by a LayerNorm ``norm``.
        use_checkpoint: Recompute each block's activations in the backward pass: slower, and
            far less memory.
        train_pos_embed: Whether position embeddings are trained: the official fine-tuning and
            ViTDet train them, pretraining does not.
        frozen_stages: Blocks that are not trained, first to last; see
            :func:`~mae_plugin.models.freeze.frozen_parts`. -1 trains all.
        init_cfg: mmengine's; ``dict(type='Pretrained', checkpoint=FILE)`` loads any ViT or MAE
            file through :mod:`mae_plugin.checkpoint`, loudly, and takes ``prefix``, ``trust``,
            ``num_heads`` and ``drop_relative_position_bias`` as ``load_pretrained`` does.

    Raises:
        ValueError: If ``arch`` is unknown, ``img_size`` does not fit ``patch_size``, or
            ``frozen_stages`` is no number of blocks.
    """

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | Grid = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        with_cls_token: bool = True,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale_init: float | None = None,
        final_norm: bool = True,
        use_checkpoint: bool = False,
        train_pos_embed: bool = False,
        frozen_stages: float = -1,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dims, self.num_layers, num_heads, mlp_ratio = parse_arch(arch)
        self.patch_size = whole_number('patch_size', patch_size)
        self.grid = patch_grid(image_size(img_size), self.patch_size)
        self.num_prefix_tokens = int(with_cls_token)
        self.use_checkpoint = use_checkpoint

        self.patch_embed = PatchEmbed(
            self.patch_size, whole_number('in_channels', in_channels), self.embed_dims
        )
        self.cls_token = (
            nn.Parameter(torch.zeros(1, 1, self.embed_dims)) if with_cls_token else None
        )
        # A parameter even where fixed: checkpoints carry it, and it must come from them (DESIGN).
        self.pos_embed = nn.Parameter(
            sincos_pos_embed(self.embed_dims, self.grid, self.num_prefix_tokens),
            requires_grad=train_pos_embed,
        )
        deepest = max(1, self.num_layers - 1)
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dims,
                num_heads,
                mlp_ratio,
                qkv_bias,
                drop_path_rate * index / deepest,
                layer_scale_init,
            )
            for index in range(self.num_layers)
        )
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6) if final_norm else nn.Identity()
        check_frozen_stages(frozen_stages, self.num_layers)
        self.frozen_stages = frozen_stages
        freeze(self, frozen_stages)

    def train(self, mode: bool = True) -> 'ViT':
        """As usual, but the frozen parts stay in evaluation mode."""
        super().train(mode)
        freeze(self, self.frozen_stages)
        return self

    def init_weights(self) -> None:
        """Initialise as the official code does (appendix A.1), then as ``init_cfg`` says.

        Files are loaded last, whatever their place in a list.
        """
        self.reset_parameters()
        cfgs = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or []
        files = [cfg for cfg in cfgs if cfg['type'] in ('Pretrained', PretrainedInit)]
        initialize(self, [cfg for cfg in cfgs if cfg not in files])
        for cfg in files:
            load_init_cfg(self, cfg)
        self._is_init = True

    def reset_parameters(self) -> None:
        """Random weights: Xavier-uniform linears, class token normal(0, .02)."""
        self.apply(init_linear_and_norm)
        self.patch_embed.init_weights()
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    def get_layer_depth(self, name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer decay (mmpretrain's protocol).

        Args:
            name: Parameter name; without ``prefix`` before it, one of what follows the backbone.
            prefix: What stands before this module's own names.

        Returns:
            (layer_id, num_layers): embeddings and tokens 0, block i i + 1, the rest last.
        """
        num_layers = self.num_layers + 2
        if not name.startswith(prefix):
            return num_layers - 1, num_layers
        name = name.removeprefix(prefix)
        if name.startswith(('patch_embed', 'cls_token', 'pos_embed')):
            return 0, num_layers
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1, num_layers
        return num_layers - 1, num_layers

    def trunk_spec(self) -> TrunkSpec:
        """What a checkpoint must know of this trunk."""
        return TrunkSpec(
            type(self).__name__,
            self.state_dict(),
            self.grid,
            self.num_prefix_tokens,
            self.blocks[0].attn.num_heads,
            self.blocks[0].norm1.eps,
            tuple(getattr(block.attn, 'window_size', 0) for block in self.blocks),
        )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Torch's way in for this module's part: foreign layouts are translated, or refused."""
        patch = dict(self.named_parameters()).get('patch_embed.proj.weight')
        if patch is not None and patch.dim() == 4:  # FSDP has it in shards of its own names
            translate_state_dict(state_dict, prefix, self.trunk_spec())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def positions(self, grid: Grid, ids: Tensor | None = None) -> Tensor:
        """Position embeddings of a grid's patches: (1, L, D), or (B, K, D) at ``ids`` (B, K)."""
        table = resize_pos_embed(self.pos_embed, self.grid, grid, self.num_prefix_tokens)
        table = table[:, self.num_prefix_tokens :]
        return table if ids is None else table[0][ids]

    def prepend_cls_token(self, x: Tensor) -> Tensor:
        """Put the class token, if there is one, before the tokens (B, L, D)."""
        if self.cls_token is None:
            return x
        cls_token = self.cls_token + self.pos_embed[:, :1]
        return torch.cat([cls_token.expand(x.shape[0], -1, -1), x], dim=1)

    def forward(
        self,
        images: Tensor,
        ids_keep: Tensor | None = None,
        ids_masked: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """Encode the patches at ``ids_keep``, or all of them.

        Args:
            images: (B, C, H, W), normalised; H and W divisible by the patch size.
            ids_keep: (B, K) raster indices of the visible patches; all when None.
            ids_masked: (B, M) indices at which ``mask_token`` joins the encoder (Table 1c).
            mask_token: (1, 1, D) token that stands for removed patches.

        Returns:
            Tokens (B, 1 + K, D), in the order class token, ``ids_keep``, and, with a mask token,
            ``ids_masked``: (B, 1 + K + M, D). Without the class token, one less.
        """
        return self.last_layers(1, images, ids_keep, ids_masked, mask_token)[0]

    def last_layers(
        self,
        count: int,
        images: Tensor,
        ids_keep: Tensor | None = None,
        ids_masked: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> list[Tensor]:
        """What the last ``count`` blocks give, in their order; only the last of all is normed.

        Takes what :meth:`forward` takes, and each item is as its result.
        """
        grid = patch_grid(images.shape[-2:], self.patch_size)
        x = self.patch_embed(images, ids_keep) + self.positions(grid, ids_keep)
        if mask_token is not None:
            x = torch.cat([x, mask_token + self.positions(grid, ids_masked)], dim=1)
        x = self.prepend_cls_token(x)
        layers = []
        for index, block in enumerate(self.blocks, start=1):
            x = run_block(block, x, self.use_checkpoint)
            if self.num_layers - count < index < self.num_layers:
                layers.append(x)
        return [*layers, self.norm(x)]
