"""Tiny models of foundation ViTs, computed by their own classes or by timm's, and their files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .peers import ARCH, DEPTH, DIMS, HEADS, NEWER, PATCH, SIZE, hf_config, randomise, timm_vit

HIDDEN = 128  # of gated MLPs


@dataclass
class Family:
    """A family's file, the trunk that takes it, and what its own code computes.

    Attributes:
        content: What its file holds.
        tokens: Images (B, 3, H, W) of any size to the encoder's last tokens (B, P + L, D).
        kwargs: Of our ViT.
        prefix: P.
        dense: What ViTBackbone needs beside, if the family is for it alone.
        final_norm: Whether the tokens went through a final norm.
    """

    content: dict[str, Any]
    tokens: Callable[[Tensor], Tensor]
    kwargs: dict[str, Any] = field(default_factory=dict)
    prefix: int = 1
    dense: dict[str, Any] | None = None
    final_norm: bool = True


def arch(**parts: Any) -> dict[str, Any]:
    return dict(
        arch=dict(embed_dims=DIMS, num_layers=DEPTH, num_heads=HEADS, **parts),
        img_size=SIZE,
        patch_size=PATCH,
    )


def dinov2_arch(resize: str, registers: int = 0, gated: bool = False, **kwargs: Any) -> dict:
    parts: dict[str, Any] = dict(mlp='swiglu', mlp_ratio=HIDDEN / DIMS) if gated else {}
    return arch(
        layer_scale_init=1.0,
        num_register_tokens=registers,
        positions=dict(type='LearnedPositions', resize=resize),
        **parts,
        **kwargs,
    )


def dinov3_arch(gated: bool = False) -> dict:
    parts: dict[str, Any] = dict(mlp='swiglu', mlp_ratio=HIDDEN / DIMS) if gated else {}
    return arch(
        layer_scale_init=1.0,
        num_register_tokens=4,
        positions=dict(type='RotaryPositions'),
        key_bias=False,
        norm_eps=1e-5,
        **parts,
    )


def timm_dinov2(registers: int = 0, gated: bool = False) -> nn.Module:
    from timm.layers import SwiGLUPacked

    # As timm says of vit_giant_patch14_dinov2: mlp_ratio counts both halves.
    packed = dict(mlp_ratio=2 * HIDDEN / DIMS, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU)
    return timm_vit(
        num_classes=0,
        init_values=0.3,
        dynamic_img_size=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        **dict(reg_tokens=registers, no_embed_class=True) if registers else {},
        **packed if gated else {},
    )


def official_dinov2(registers: int = 0, gated: bool = False) -> Family:
    """dinov2/models/vision_transformer.py: its names, its ``interpolate_pos_encoding``."""
    model = timm_dinov2(registers, gated)
    state = model.state_dict()
    generator = torch.Generator().manual_seed(6)
    row = torch.randn(1, 1, DIMS, generator=generator)
    if registers:
        state['register_tokens'] = state.pop('reg_token')
        state['cls_token'] = state['cls_token'] - row
        state['pos_embed'] = torch.cat([row, state['pos_embed']], dim=1)
    if gated:
        names = {'mlp.fc1': 'mlp.w12', 'mlp.fc2': 'mlp.w3'}
        for old, new in names.items():
            state = {key.replace(old, new): value for key, value in state.items()}
    state['mask_token'] = torch.ones(1, DIMS)

    def tokens(x: Tensor) -> Tensor:
        w0, h0 = x.shape[2] // PATCH, x.shape[3] // PATCH
        table = state['pos_embed']
        side = SIZE // PATCH
        if (w0, h0) != (side, side):
            patches = table[:, 1:].reshape(1, side, side, DIMS).permute(0, 3, 1, 2)
            # interpolate_offset=0.1 and no antialiasing; with registers the other way round.
            if registers:
                patches = F.interpolate(patches, size=(w0, h0), mode='bicubic', antialias=True)
            else:
                factors = ((w0 + 0.1) / side, (h0 + 0.1) / side)
                patches = F.interpolate(patches, scale_factor=factors, mode='bicubic')
            assert patches.shape[2:] == (w0, h0)
            table = torch.cat([table[:, :1], patches.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
        x = model.patch_embed(x).flatten(1, 2)
        x = torch.cat([state['cls_token'].expand(len(x), -1, -1), x], dim=1) + table
        if registers:
            own = state['register_tokens'].expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], own, x[:, 1:]], dim=1)
        return model.norm(model.blocks(x))

    resize = 'bicubic-antialias' if registers else 'bicubic-offset'
    return Family(state, tokens, dinov2_arch(resize, registers, gated), 1 + registers)


def in_timm_dinov2(registers: int = 0, gated: bool = False) -> Family:
    model = timm_dinov2(registers, gated)
    kwargs = dinov2_arch('bicubic-antialias', registers, gated)
    return Family(model.state_dict(), model.forward_features, kwargs, 1 + registers)


def in_transformers_dinov2(registers: int = 0, gated: bool = False) -> Family:
    # Before, positions were resized by another law.
    pytest.importorskip('transformers', '4.48', reason=NEWER)
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    kwargs = hf_config() | dict(layerscale_value=0.3, use_swiglu_ffn=gated)
    kwargs.pop('intermediate_size')
    if gated:
        kwargs['mlp_ratio'] = 4  # of which two thirds make 128
    if registers:
        config = Dinov2WithRegistersConfig(num_register_tokens=registers, **kwargs)
        model = randomise(Dinov2WithRegistersModel(config))
    else:
        model = randomise(Dinov2Model(Dinov2Config(**kwargs)))
    resize = 'bicubic-antialias' if registers else 'bicubic'
    return Family(
        model.state_dict(),
        lambda x: model(x).last_hidden_state,
        dinov2_arch(resize, registers, gated),
        1 + registers,
    )


def timm_dinov3(gated: bool = False, qkv_bias: bool = True) -> nn.Module:
    from timm.models.eva import Eva

    model = Eva(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=DIMS,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=0,
        dynamic_img_size=True,
        qkv_bias=qkv_bias,
        init_values=0.3,
        rope_type='dinov3',
        rope_temperature=100,
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=4,
        use_fc_norm=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        **dict(swiglu_mlp=True, swiglu_align_to=8, mlp_ratio=HIDDEN / DIMS) if gated else {},
    )
    return randomise(model)


def in_timm_dinov3(gated: bool = False, qkv_bias: bool = True) -> Family:
    model = timm_dinov3(gated, qkv_bias)
    return Family(model.state_dict(), model.forward_features, dinov3_arch(gated), 5)


def official_dinov3(gated: bool = False) -> Family:
    """dinov3/models/vision_transformer.py: its names; periods as its files have them."""
    model = timm_dinov3(gated)
    model.rope.periods.copy_(model.rope.periods.bfloat16())
    names = {
        'reg_token': 'storage_tokens',
        'gamma_1': 'ls1.gamma',
        'gamma_2': 'ls2.gamma',
        'mlp.fc1_g': 'mlp.w1',
        'mlp.fc1_x': 'mlp.w2',
    }
    if gated:
        names['mlp.fc2'] = 'mlp.w3'
    state = {}
    for key, value in model.state_dict().items():
        for old, new in names.items():
            key = key.replace(old, new)
        state[key] = value
    for block in (f'blocks.{index}.attn' for index in range(DEPTH)):
        parts = state.pop(f'{block}.q_bias'), torch.ones(DIMS), state.pop(f'{block}.v_bias')
        state[f'{block}.qkv.bias'] = torch.cat(parts)
        mask = torch.ones(3 * DIMS)
        mask[DIMS : 2 * DIMS] = torch.nan if block.startswith('blocks.1') else 0
        state[f'{block}.qkv.bias_mask'] = mask
    state['rope_embed.periods'] = model.rope.periods.bfloat16()
    state['mask_token'] = torch.ones(1, DIMS)
    return Family(state, model.forward_features, dinov3_arch(gated), 5)


def in_transformers_dinov3(gated: bool = False) -> Family:
    pytest.importorskip('transformers', '4.56', reason=NEWER)
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    kwargs = hf_config() | dict(layerscale_value=0.3, num_register_tokens=4, use_gated_mlp=gated)
    if gated:
        kwargs['hidden_act'] = 'silu'
        kwargs['intermediate_size'] = HIDDEN
    model = randomise(DINOv3ViTModel(DINOv3ViTConfig(**kwargs)))
    return Family(model.state_dict(), lambda x: model(x).last_hidden_state, dinov3_arch(gated), 5)


def register_rows() -> Family:
    """timm's, with rows of the position embeddings for registers too."""
    model = timm_vit(num_classes=0, reg_tokens=4, dynamic_img_size=True)
    kwargs = dict(positions=dict(type='LearnedPositions', resize='bicubic-antialias'))
    kwargs |= arch(num_register_tokens=4)
    return Family(model.state_dict(), model.forward_features, kwargs, 5)


def resized(table: Tensor, num_rows: int, size: tuple[int, ...]) -> Tensor:
    """Position embeddings of an image of ``size``, bicubic, the first rows as they are."""
    side = SIZE // PATCH
    grid = [length // PATCH for length in size]
    patches = table[:, num_rows:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=grid, mode='bicubic', align_corners=False)
    return torch.cat([table[:, :num_rows], patches.flatten(2).mT], dim=1)


def official_pixio(num_cls: int = 8) -> Family:
    """pixio's models: MAE's names, a row of positions for each class token."""
    model = timm_vit(num_classes=0, dynamic_img_size=True)
    generator = torch.Generator().manual_seed(7)
    state = model.state_dict()
    state['cls_token'] = torch.randn(1, num_cls, DIMS, generator=generator)
    rows = torch.randn(1, num_cls, DIMS, generator=generator)
    state['pos_embed'] = torch.cat([rows, state['pos_embed'][:, 1:]], dim=1)

    def tokens(x: Tensor) -> Tensor:
        table = resized(state['pos_embed'], num_cls, x.shape[2:])
        x = model.patch_embed(x).flatten(1, 2)
        x = torch.cat([state['cls_token'].expand(len(x), -1, -1), x], dim=1) + table
        return model.norm(model.blocks(x))

    kwargs = arch(num_cls_tokens=num_cls, positions=dict(type='LearnedPositions'))
    return Family(state, tokens, kwargs, num_cls)


def sapiens() -> Family:
    """mmpretrain's layout, computed by mmpretrain's own class."""
    from mmpretrain.models.backbones import VisionTransformer

    model = randomise(VisionTransformer(ARCH | dict(feedforward_channels=192), SIZE, PATCH,
                                        out_type='raw'))  # fmt: skip
    state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    return Family(dict(state_dict=state, meta={}), lambda x: model(x)[0], arch())


def in_mmpretrain_dinov2(gated: bool = False) -> Family:
    from mmpretrain.models.backbones import VisionTransformer

    sizes = ARCH | dict(feedforward_channels=HIDDEN * 3 // 2 if gated else 4 * DIMS)
    layers = dict(ffn_type='swiglu_fused') if gated else {}
    model = randomise(
        VisionTransformer(
            sizes, SIZE, PATCH, out_type='raw', layer_scale_init_value=0.3, layer_cfgs=layers
        )
    )
    state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    kwargs = dinov2_arch('bicubic', gated=gated)
    return Family(dict(state_dict=state), lambda x: model(x)[0], kwargs)


def sam() -> Family:
    """segment-anything's names, computed by timm's port of it, which takes other sizes too."""
    from timm.models.vision_transformer_sam import VisionTransformerSAM

    model = randomise(
        VisionTransformerSAM(
            img_size=SIZE, patch_size=PATCH, embed_dim=DIMS, depth=DEPTH, num_heads=HEADS,
            use_rel_pos=True, window_size=3, global_attn_indexes=(1,), neck_chans=8,
            num_classes=0, norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
    )  # fmt: skip
    state = {
        f'image_encoder.{key.replace("mlp.fc", "mlp.lin")}': value
        for key, value in model.state_dict().items()
    }
    model.patch_embed.strict_img_size = False
    kept: list[Tensor] = []
    model.blocks[-1].register_forward_hook(lambda _, __, out: kept.append(out))

    def tokens(x: Tensor) -> Tensor:
        model(x)
        return kept.pop().flatten(1, 2)

    positions = dict(type='LearnedPositions', resize='bicubic-antialias')
    kwargs = arch(num_cls_tokens=0, positions=positions)
    dense = dict(window_size=3, global_attn_indexes=(1,), rel_pos_img_size=SIZE)
    return Family(state, tokens, kwargs, 0, dense, final_norm=False)


FAMILIES: dict[str, Callable[[], Family]] = {
    'dinov2': official_dinov2,
    'dinov2, registers': partial(official_dinov2, 4),
    'dinov2, gated': partial(official_dinov2, 0, True),
    'dinov2 of timm': in_timm_dinov2,
    'dinov2 of timm, registers': partial(in_timm_dinov2, 4),
    'dinov2 of timm, gated': partial(in_timm_dinov2, 4, True),
    'dinov2 of transformers': in_transformers_dinov2,
    'dinov2 of transformers, registers': partial(in_transformers_dinov2, 4),
    'dinov2 of transformers, gated': partial(in_transformers_dinov2, 0, True),
    'dinov3': official_dinov3,
    'dinov3, gated': partial(official_dinov3, True),
    'dinov3 of timm': in_timm_dinov3,
    'dinov3 of timm, no bias': partial(in_timm_dinov3, False, False),
    'dinov3 of timm, gated': partial(in_timm_dinov3, True),
    'dinov3 of transformers': in_transformers_dinov3,
    'dinov3 of transformers, gated': partial(in_transformers_dinov3, True),
    'dinov2 of mmpretrain': in_mmpretrain_dinov2,
    'dinov2 of mmpretrain, gated': partial(in_mmpretrain_dinov2, True),
    'rows for registers': register_rows,
    'pixio': official_pixio,
    'sapiens': sapiens,
    'sam': sam,
}
