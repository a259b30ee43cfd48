"""The Vision Transformer trunk: MAE's encoder, the classifier's backbone, the dense backbone."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule, PretrainedInit, initialize
from torch import Tensor, nn

from mae_plugin.arch import Arch, parse_arch
from mae_plugin.checkpoint.load import load_init_cfg
from mae_plugin.checkpoint.spec import TrunkSpec
from mae_plugin.checkpoint.state_dict import translate_state_dict
from mae_plugin.geometry import Grid, image_size, patch_grid, whole_number
from mae_plugin.models.patch_embed import PatchEmbed
from mae_plugin.registry import MODELS

from .block import Attention, Block, init_linear_and_norm, run_block
from .freeze import check_frozen_stages, freeze
from .parts import build_part


@MODELS.register_module()
class ViT(BaseModule):
    """Vision Transformer with the official MAE checkpoint's parameter names.

    What is None is as ``arch`` says: MAE's have one class token and sin-cos positions.

    Args:
        arch: 'tiny', 'small', 'base', 'large', 'huge'; of a family with its parts, such as
            'dinov2-base'; or a dict with ``embed_dims``, ``num_layers``, ``num_heads`` and
            optionally others of :class:`~mae_plugin.arch.Arch`'s.
        img_size: Image side, or (H, W), of the position embeddings; others get them resized.
        patch_size: p (H/14 has 14).
        in_channels: C, any number.
        with_cls_token: False for no class token, whatever ``arch`` says.
        qkv_bias: Whether the qkv projections have a bias.
        drop_path_rate: Stochastic depth of the last block; earlier blocks get linearly less.
        layer_scale_init: Initial layer scale.
        final_norm: Whether the last block is followed by a LayerNorm ``norm``.
        use_checkpoint: Recompute activations in the backward pass: slower, far less memory.
        train_pos_embed: Whether sin-cos position embeddings are trained: the official
            fine-tuning and ViTDet train them, pretraining does not. Learned ones always are.
        frozen_stages: Blocks that are not trained, see :func:`.freeze.frozen_parts`; -1 for none.
        num_cls_tokens: Class tokens, each with its own row of positions.
        num_register_tokens: Tokens behind these, without positions.
        positions: Config of ``SinCosPositions``, ``LearnedPositions`` or ``RotaryPositions``.
        init_cfg: mmengine's; ``dict(type='Pretrained', checkpoint=FILE)`` loads any ViT or MAE
            file through :mod:`mae_plugin.checkpoint`, loudly, and takes ``prefix``, ``trust``,
            ``num_heads`` and ``drop_relative_position_bias`` as ``load_pretrained`` does.

    Raises:
        ValueError: If ``arch`` is unknown, ``img_size`` does not fit ``patch_size``, or
            ``frozen_stages`` is no number of blocks.
    """

    def __init__(
        self,
        arch: str | dict | Arch = 'base',
        img_size: int | Grid | None = None,
        patch_size: int | None = None,
        in_channels: int = 3,
        with_cls_token: bool = True,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale_init: float | None = None,
        final_norm: bool = True,
        use_checkpoint: bool = False,
        train_pos_embed: bool = False,
        frozen_stages: float = -1,
        num_cls_tokens: int | None = None,
        num_register_tokens: int | None = None,
        positions: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        said = dict(
            img_size=img_size,
            patch_size=patch_size,
            num_cls_tokens=num_cls_tokens if with_cls_token else 0,
            num_register_tokens=num_register_tokens,
            layer_scale_init=layer_scale_init,
            positions=positions,
        )
        changed: dict[str, Any] = {key: said[key] for key in said if said[key] is not None}
        self.arch = vit = parse_arch(arch)._replace(**changed)
        self.embed_dims, self.num_layers = vit.embed_dims, vit.num_layers
        self.patch_size = whole_number('patch_size', vit.patch_size)
        self.grid = patch_grid(image_size(vit.img_size), self.patch_size)
        self.num_cls_tokens = vit.num_cls_tokens
        self.num_prefix_tokens = vit.num_cls_tokens + vit.num_register_tokens
        self.use_checkpoint = use_checkpoint

        self.patch_embed = PatchEmbed(
            self.patch_size, whole_number('in_channels', in_channels), self.embed_dims
        )
        self.cls_token = self._tokens(vit.num_cls_tokens)
        self.register_tokens = self._tokens(vit.num_register_tokens)
        self.positions = build_part(
            vit.positions,
            dims=self.embed_dims,
            num_heads=vit.num_heads,
            grid=self.grid,
            num_cls_tokens=vit.num_cls_tokens,
        )
        # A parameter even where fixed: checkpoints carry it, and it must come from them (DESIGN).
        table = self.positions.new_table()
        is_trained = train_pos_embed or self.positions.is_learned
        self.pos_embed = None if table is None else nn.Parameter(table, requires_grad=is_trained)
        deepest = max(1, self.num_layers - 1)
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dims,
                vit.num_heads,
                vit.mlp_ratio,
                drop_path=drop_path_rate * index / deepest,
                layer_scale_init=vit.layer_scale_init,
                attn=Attention(self.embed_dims, vit.num_heads, qkv_bias, vit.key_bias),
                mlp=vit.mlp,
                norm_eps=vit.norm_eps,
            )
            for index in range(self.num_layers)
        )
        norm = nn.LayerNorm(self.embed_dims, eps=vit.norm_eps)
        self.norm = norm if final_norm else nn.Identity()
        check_frozen_stages(frozen_stages, self.num_layers)
        self.frozen_stages = frozen_stages
        freeze(self, frozen_stages)

    def _tokens(self, count: int) -> nn.Parameter | None:
        return nn.Parameter(torch.zeros(1, count, self.embed_dims)) if count else None

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
        """Random weights: Xavier-uniform linears, class and register tokens normal(0, .02)."""
        self.apply(init_linear_and_norm)
        self.patch_embed.init_weights()
        for tokens in (self.cls_token, self.register_tokens):
            if tokens is not None:
                nn.init.normal_(tokens, std=0.02)
        self.positions.reset(self.pos_embed)

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
        if name.startswith(('patch_embed', 'cls_token', 'register_tokens', 'pos_embed')):
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
            self.num_cls_tokens,
            self.blocks[0].attn.num_heads,
            self.blocks[0].norm1.eps,
            tuple(getattr(block.attn, 'window_size', 0) for block in self.blocks),
            getattr(self.positions, 'resize', 'bicubic'),
        )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Torch's way in for this module's part: foreign layouts are translated, or refused."""
        patch = dict(self.named_parameters()).get('patch_embed.proj.weight')
        if patch is not None and patch.dim() == 4:  # FSDP has it in shards of its own names
            translate_state_dict(state_dict, prefix, self.trunk_spec())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def prepend_prefix_tokens(self, x: Tensor) -> Tensor:
        """Put class and register tokens, as far as there are any, before the tokens (B, L, D)."""
        tokens = [] if self.register_tokens is None else [self.register_tokens]
        if self.cls_token is not None:
            tokens.insert(0, self.positions.add_to_cls(self.cls_token, self.pos_embed))
        if not tokens:
            return x
        return torch.cat([*(each.expand(x.shape[0], -1, -1) for each in tokens), x], dim=1)

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
            Tokens (B, P + K, D), in the order class tokens, register tokens, ``ids_keep``, and,
            with a mask token, ``ids_masked``: (B, P + K + M, D).
        """
        last = (self.num_layers - 1,)
        return self.norm(self.block_outputs(last, images, ids_keep, ids_masked, mask_token)[0])

    def block_outputs(
        self,
        blocks: Sequence[int],
        images: Tensor,
        ids_keep: Tensor | None = None,
        ids_masked: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> list[Tensor]:
        """As :meth:`forward`: what the blocks of these numbers (from 0) give, without the norm."""
        grid = patch_grid(images.shape[-2:], self.patch_size)
        x, ids = self.patch_embed(images, ids_keep), ids_keep
        if mask_token is not None and ids_masked is not None and ids_keep is not None:
            x = torch.cat([x, mask_token.expand(*ids_masked.shape, -1)], dim=1)
            ids = torch.cat([ids_keep, ids_masked], dim=1)
        x = self.prepend_prefix_tokens(self.positions.add(x, self.pos_embed, grid, ids))
        extras = self.positions.for_attention(grid, ids, self.num_prefix_tokens)
        outputs = []
        for index, block in enumerate(self.blocks):
            x = run_block(block, x, self.use_checkpoint, **extras)
            if index in blocks:
                outputs.append(x)
        return outputs
