"""Tiny models of every peer, with random weights, and files in their layouts.

Each maker returns a :class:`Peer`: what its users have in a file, and what its own code computes.
Where the peer does not install, timm's ViT (an independent implementation whose names are the
official ones) computes, and its weights are saved in the documented layout.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from torch import Tensor, nn

DIMS, DEPTH, HEADS, PATCH, SIZE = 48, 2, 4, 8, 32
GRID = SIZE // PATCH
ARCH = dict(embed_dims=DIMS, num_layers=DEPTH, num_heads=HEADS)

NEWER = 'upstream mmpretrain wants transformers 4.40, which has no such model'


@dataclass
class Peer:
    """A peer's file and outputs.

    Attributes:
        content: What its file holds.
        tokens: Images (B, 3, 32, 32) to the encoder's last tokens (B, 1 + L, D).
        final_norm: Whether those went through a final norm.
        cls_token: Whether the first of them is a class token.
        suffix: Of its files.
        rel_pos: Whether its attention has relative positions.
        windows: Side of its windows, and the blocks that have none.
    """

    content: dict[str, Any]
    tokens: Callable[[Tensor], Tensor]
    final_norm: bool = True
    cls_token: bool = True
    suffix: str = '.pth'
    rel_pos: bool = False
    windows: tuple[int, tuple[int, ...]] = (0, ())


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere, biases, norms and tokens too; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.2
        is_scale = parameter.dim() == 1 and 'bias' not in name
        parameter.data = noise + 1 if is_scale else noise
    module.eval()
    return module


def images(batch: int = 2, size: int | tuple[int, int] = SIZE, channels: int = 3) -> Tensor:
    h, w = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, channels, h, w, generator=torch.Generator().manual_seed(1))


def timm_vit(**kwargs: Any) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    defaults = dict(num_classes=5)
    return randomise(
        VisionTransformer(
            img_size=SIZE,
            patch_size=PATCH,
            embed_dim=DIMS,
            depth=DEPTH,
            num_heads=HEADS,
            **(defaults | kwargs),
        )
    )


def _prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def _without_head(model: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if not k.startswith('head')}


def timm() -> Peer:
    model = timm_vit()
    return Peer(model.state_dict(), model.forward_features)


def timm_layer_scale() -> Peer:
    model = timm_vit(init_values=0.1)
    return Peer(model.state_dict(), model.forward_features, suffix='.safetensors')


def timm_no_bias() -> Peer:
    model = timm_vit(qkv_bias=False)
    return Peer(model.state_dict(), model.forward_features)


def this_project() -> Peer:
    """As an mmengine checkpoint of a run."""
    model = timm_vit(num_classes=0)
    state = _prefixed(model.state_dict(), 'backbone.')
    state |= {'decoder.embed.weight': torch.zeros(32, DIMS), 'decoder.embed.bias': torch.zeros(32)}
    content = dict(state_dict=state, meta=dict(epoch=1), optimizer=dict(state={}, param_groups=[]))
    return Peer(content, model.forward_features)


def host_run() -> Peer:
    model = timm_vit(num_classes=0)
    state = _prefixed(model.state_dict(), 'backbone.')
    return Peer(
        dict(state_dict=state | {'decode_head.conv_seg.weight': torch.zeros(3, DIMS, 1, 1)}),
        model.forward_features,
    )


def official_encoder() -> Peer:
    model = timm_vit(num_classes=0)
    return Peer(dict(model=model.state_dict()), model.forward_features)


def official_full() -> Peer:
    """As self-trained files are: with the arguments and the decoder."""
    model = timm_vit(num_classes=0)
    state = model.state_dict() | official_decoder()
    content = dict(model=state, args=argparse.Namespace(lr=1e-3), epoch=3, optimizer={})
    return Peer(content, model.forward_features)


def official_decoder(dims: int = 32, depth: int = 2) -> dict[str, Tensor]:
    """Keys and shapes of models_mae.py, with random values."""
    generator = torch.Generator().manual_seed(2)
    shapes = {
        'mask_token': (1, 1, dims),
        'decoder_pos_embed': (1, GRID**2 + 1, dims),
        'decoder_embed.weight': (dims, DIMS),
        'decoder_embed.bias': (dims,),
        'decoder_norm.weight': (dims,),
        'decoder_norm.bias': (dims,),
        'decoder_pred.weight': (PATCH**2 * 3, dims),
        'decoder_pred.bias': (PATCH**2 * 3,),
    }
    linears = {'attn.qkv': (3, 1), 'attn.proj': (1, 1), 'mlp.fc1': (4, 1), 'mlp.fc2': (1, 4)}
    for index in range(depth):
        block = f'decoder_blocks.{index}.'
        for name, (rows, columns) in linears.items():
            shapes[f'{block}{name}.weight'] = (rows * dims, columns * dims)
            shapes[f'{block}{name}.bias'] = (rows * dims,)
        for name in ('norm1', 'norm2'):
            shapes |= {f'{block}{name}.weight': (dims,), f'{block}{name}.bias': (dims,)}
    return {k: torch.randn(shape, generator=generator) * 0.2 for k, shape in shapes.items()}


def official_finetuned() -> Peer:
    """models_vit.py with global pooling: fc_norm after the average, no final norm."""
    model = timm_vit(global_pool='avg')
    return Peer(dict(model=model.state_dict()), model.forward_features, final_norm=False)


def dino() -> Peer:
    """A training checkpoint: the teacher is the encoder to use."""
    model, student = timm_vit(num_classes=0), timm_vit(num_classes=0)
    randomise(student, seed=5)
    teacher = _prefixed(model.state_dict(), 'backbone.') | {'head.mlp.0.weight': torch.ones(3, 3)}
    content = dict(
        student=_prefixed(student.state_dict(), 'module.backbone.'), teacher=teacher, epoch=7
    )
    return Peer(content, model.forward_features)


def moco_v3() -> Peer:
    model, momentum = timm_vit(num_classes=0), randomise(timm_vit(num_classes=0), seed=5)
    state = _prefixed(model.state_dict(), 'module.base_encoder.')
    state |= _prefixed(momentum.state_dict(), 'module.momentum_encoder.')
    state['module.base_encoder.head.0.weight'] = torch.ones(3, DIMS)
    return Peer(dict(state_dict=state, arch='vit_base'), model.forward_features)


def beit() -> Peer:
    """With absolute positions and no bias table, a BEiT is a plain ViT with layer scale."""
    from timm.models.beit import Beit

    model = randomise(
        Beit(
            img_size=SIZE,
            patch_size=PATCH,
            embed_dim=DIMS,
            depth=DEPTH,
            num_heads=HEADS,
            init_values=0.1,
            use_abs_pos_emb=True,
            global_pool='token',
        )
    )
    return Peer(dict(model=model.state_dict()), model.forward_features)


def beit_without_positions() -> Peer:
    """Relative positions alone, all zero, so that it adds no positions at all."""
    peer = beit()
    state = dict(peer.content['model'])
    state['pos_embed'] = torch.zeros_like(state['pos_embed'])
    from timm.models.beit import Beit

    model = Beit(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=DIMS,
        depth=DEPTH,
        num_heads=HEADS,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        global_pool='token',
    ).eval()
    state.pop('pos_embed')
    for index in range(DEPTH):
        name = f'blocks.{index}.attn.relative_position_bias_table'
        state[name] = torch.zeros_like(model.state_dict()[name])
    model.load_state_dict(state)
    return Peer(dict(model=state), model.forward_features)


def _mm_arch() -> dict:
    return ARCH | dict(feedforward_channels=4 * DIMS)


def mmpretrain_vit() -> Peer:
    from mmpretrain.models.backbones import VisionTransformer

    model = randomise(VisionTransformer(_mm_arch(), SIZE, PATCH, out_type='raw'))
    content = dict(
        state_dict=_prefixed(model.state_dict(), 'backbone.')
        | {'head.layers.head.weight': torch.ones(5, DIMS)},
        meta={},
    )
    return Peer(content, lambda x: model(x)[0])


def mmpretrain_pooled(**kwargs: Any) -> nn.Module:
    """As fine-tuned: average pooling with ln2 after it, no final norm."""
    from mmpretrain.models.backbones import VisionTransformer

    pooled = dict(out_type='avg_featmap', final_norm=False)
    return randomise(VisionTransformer(_mm_arch(), SIZE, PATCH, **pooled, **kwargs))


def mmpretrain_layer_scale_avg() -> Peer:
    model = mmpretrain_pooled(layer_scale_init_value=0.1)
    state = model.state_dict()
    model.out_type = 'raw'
    return Peer(dict(state_dict=state), lambda x: model(x)[0], final_norm=False)


def mmpretrain_mae_model() -> nn.Module:
    from mmpretrain.models.heads import MAEPretrainHead
    from mmpretrain.models.necks import MAEPretrainDecoder
    from mmpretrain.models.selfsup import MAE, MAEViT

    # Another test may have left another scope.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MAE(
            backbone=MAEViT(_mm_arch(), SIZE, PATCH),
            neck=MAEPretrainDecoder(GRID**2, PATCH, 3, DIMS, 32, 2, 4),
            head=MAEPretrainHead(dict(type='PixelReconstructionLoss', criterion='L2')),
        )
    return randomise(model)


def mmpretrain_mae() -> Peer:
    model = mmpretrain_mae_model()
    return Peer(dict(state_dict=model.state_dict()), lambda x: model.backbone(x, None)[0])


def _with_cls(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """mmseg's backbones return maps; their last block's hook has the class token too."""

    def tokens(x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        last = model.norm1 if model.final_norm else model.layers[-1]
        handle = last.register_forward_hook(lambda _, __, out: kept.append(out))
        feature_map = model(x)[-1]
        handle.remove()
        assert torch.equal(kept[0][:, 1:].transpose(1, 2).reshape(feature_map.shape), feature_map)
        return kept[0]

    return tokens


def mmseg_arch() -> dict:
    # No file tells eps: mmseg's default is 1e-5, the official models have 1e-6.
    return ARCH | dict(norm_cfg=dict(type='LN', eps=1e-6))


def mmseg_vit() -> Peer:
    from mmseg.models.backbones import VisionTransformer

    model = randomise(VisionTransformer(SIZE, PATCH, final_norm=True, **mmseg_arch()))
    return Peer(model.state_dict(), _with_cls(model))


def mmseg_mae() -> Peer:
    """As after pretraining: the relative position bias is still zero; no final norm."""
    from mmseg.models.backbones import MAE

    model = randomise(MAE((SIZE, SIZE), PATCH, **mmseg_arch()))
    for layer in model.layers:
        layer.attn.relative_position_bias_table.data.zero_()
    state = _prefixed(model.state_dict(), 'backbone.')
    return Peer(dict(state_dict=state), _with_cls(model), final_norm=False)


def mmpretrain_beit() -> Peer:
    """With absolute positions instead of relative ones."""
    from mmpretrain.models.backbones import BEiTViT

    model = randomise(
        BEiTViT(
            _mm_arch(),
            SIZE,
            PATCH,
            out_type='raw',
            use_abs_pos_emb=True,
            use_rel_pos_bias=False,
            layer_scale_init_value=0.1,
        )
    )
    state = _prefixed(model.state_dict(), 'backbone.')
    return Peer(dict(state_dict=state), lambda x: model(x)[0], final_norm=False)


def mmseg_beit() -> Peer:
    """Its biases still zero, as before it was trained."""
    from mmseg.models.backbones import BEiT

    model = randomise(BEiT((SIZE, SIZE), PATCH, final_norm=True, **mmseg_arch()))
    for layer in model.layers:
        layer.attn.relative_position_bias_table.data.zero_()
    return Peer(dict(state_dict=model.state_dict()), _with_cls(model))


def hf_config(**kwargs: Any) -> dict[str, Any]:
    return dict(
        hidden_size=DIMS,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * DIMS,
        image_size=SIZE,
        patch_size=PATCH,
        **kwargs,
    )


def hf_vit() -> Peer:
    from transformers import ViTConfig, ViTForImageClassification

    model = randomise(ViTForImageClassification(ViTConfig(**hf_config())))
    return Peer(
        model.state_dict(), lambda x: model.vit(x).last_hidden_state, suffix='.safetensors'
    )


def hf_vit_bare() -> Peer:
    from transformers import ViTConfig, ViTModel

    model = randomise(ViTModel(ViTConfig(**hf_config())))
    return Peer(model.state_dict(), lambda x: model(x).last_hidden_state)


def hf_vit_new_names() -> Peer:
    peer = hf_vit()
    return Peer(_new_names(peer.content), peer.tokens, suffix='.safetensors')


def hf_mae_new_names() -> Peer:
    peer = hf_mae()
    return Peer(_new_names(peer.content), peer.tokens, suffix='.safetensors')


def _new_names(content: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers 5 renames the modules (its conversion_mapping.py, entry ViTModel)."""
    renames = {
        'encoder.layer.': 'layers.',
        'attention.attention.query': 'attention.q_proj',
        'attention.attention.key': 'attention.k_proj',
        'attention.attention.value': 'attention.v_proj',
        'attention.output.dense': 'attention.o_proj',
        'intermediate.dense': 'mlp.fc1',
        'output.dense': 'mlp.fc2',
    }
    state = {}
    for key, value in content.items():
        for old, new in renames.items():
            key = key.replace(old, new)
        state[key] = value
    return state


def hf_mae_model() -> nn.Module:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        **hf_config(
            decoder_hidden_size=32,
            decoder_num_hidden_layers=2,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=128,
            mask_ratio=0.0,
        )
    )
    return randomise(ViTMAEForPreTraining(config))


def hf_mae() -> Peer:
    model = hf_mae_model()
    order = torch.arange(GRID**2).float()

    def tokens(x: Tensor) -> Tensor:
        return model.vit(x, noise=order.expand(len(x), -1)).last_hidden_state

    return Peer(model.state_dict(), tokens, suffix='.safetensors')


def hf_beit_model(**kwargs: Any) -> nn.Module:
    from transformers import BeitConfig, BeitModel

    config = BeitConfig(
        **hf_config(use_absolute_position_embeddings=True, layer_scale_init_value=0.1, **kwargs)
    )
    return randomise(BeitModel(config))


def hf_beit() -> Peer:
    model = hf_beit_model()
    return Peer(model.state_dict(), lambda x: model(x).last_hidden_state, final_norm=False)


def hf_dinov2() -> Peer:
    from transformers import Dinov2Config, Dinov2Model

    kwargs = hf_config() | dict(layerscale_value=0.3, mlp_ratio=4)
    kwargs.pop('intermediate_size')
    model = randomise(Dinov2Model(Dinov2Config(**kwargs)))
    return Peer(model.state_dict(), lambda x: model(x).last_hidden_state, suffix='.safetensors')


def dinov2_in_chunks() -> Peer:
    """As its training leaves it: blocks.CHUNK.INDEX, a mask token, the teacher under a prefix."""
    model = timm_vit(init_values=0.3, num_classes=0)
    state = {
        re.sub(r'^blocks\.(\d)', r'blocks.\1.\1', key): value
        for key, value in model.state_dict().items()
    }
    state['mask_token'] = torch.ones(1, DIMS)
    content = _prefixed(state, 'backbone.') | {'dino_head.mlp.0.weight': torch.ones(3, 3)}
    return Peer(dict(teacher=content), model.forward_features)


def compiled() -> Peer:
    """Blocks and model compiled each for itself, in a sharding wrapper."""
    model = timm_vit(num_classes=0)
    state = {
        re.sub(r'^(blocks\.\d\.)', r'\1_fsdp_wrapped_module._orig_mod.', key): value
        for key, value in model.state_dict().items()
    }
    return Peer(dict(model=_prefixed(state, '_orig_mod.')), model.forward_features)


def _last_map(model: nn.Module, block: nn.Module) -> Callable[[Tensor], Tensor]:
    """What a SAM encoder's last block gives, as tokens (B, L, D)."""

    def tokens(x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        handle = block.register_forward_hook(lambda _, __, out: kept.append(out))
        model(x)
        handle.remove()
        out = kept[0][0] if isinstance(kept[0], tuple) else kept[0]
        return out.flatten(1, 2)

    return tokens


# Windows of 2x2 in the first block, global attention in the second.
_SAM = dict(final_norm=False, cls_token=False, rel_pos=True, windows=(2, (1,)))


def sam() -> Peer:
    """segment-anything's names, computed by timm's port of it."""
    from timm.models.vision_transformer_sam import VisionTransformerSAM

    model = VisionTransformerSAM(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=DIMS,
        depth=DEPTH,
        num_heads=HEADS,
        use_rel_pos=True,
        window_size=2,
        global_attn_indexes=(1,),
        neck_chans=8,
        num_classes=0,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    randomise(model)
    state = {key.replace('mlp.fc', 'mlp.lin'): value for key, value in model.state_dict().items()}
    content = _prefixed(state, 'image_encoder.')
    content['prompt_encoder.not_a_point_embed.weight'] = torch.ones(1, 8)
    return Peer(content, _last_map(model, model.blocks[-1]), **_SAM)


def hf_sam() -> Peer:
    pytest.importorskip('transformers', '4.49', reason=NEWER)
    from transformers import SamVisionConfig, SamVisionModel

    config = SamVisionConfig(
        **hf_config(), mlp_dim=4 * DIMS, window_size=2, global_attn_indexes=[1], output_channels=8
    )
    model = randomise(SamVisionModel(config))
    layer = model.vision_encoder.layers[-1]
    return Peer(model.state_dict(), _last_map(model, layer), suffix='.safetensors', **_SAM)


def mmpretrain_sam() -> Peer:
    from mmpretrain.models.backbones import ViTSAM

    arch = _mm_arch() | dict(global_attn_indexes=[1])
    model = randomise(ViTSAM(arch, SIZE, PATCH, out_channels=8, window_size=2))
    state = _prefixed(model.state_dict(), 'backbone.')
    return Peer(dict(state_dict=state), _last_map(model, model.layers[-1]), **_SAM)


def detectron2_vitdet(rel_pos: bool = True) -> Peer:
    """detectron2's keys, computed by its formulas: no class token, yet its row of positions."""
    model = timm_vit(num_classes=0)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(('norm.', 'cls'))}
    generator = torch.Generator().manual_seed(3)
    for index in range(DEPTH):
        for axis in 'hw':
            table = torch.randn(2 * GRID - 1, DIMS // HEADS, generator=generator)
            state[f'blocks.{index}.attn.rel_pos_{axis}'] = table * 0.5 * rel_pos
    content = _prefixed(state, 'backbone.net.') | {'backbone.simfp_2.0.weight': torch.ones(3)}

    def tokens(x: Tensor) -> Tensor:
        x = model.patch_embed(x) + state['pos_embed'][:, 1:]
        for index, block in enumerate(model.blocks):
            tables = (state[f'blocks.{index}.attn.rel_pos_{axis}'] for axis in 'hw')
            x = x + _rel_pos_attention(block.attn, block.norm1(x), *tables)
            x = x + block.mlp(block.norm2(x))
        return x

    return Peer(dict(model=content), tokens, final_norm=False, cls_token=False, rel_pos=rel_pos)


def detectron2_pkl() -> Peer:
    """As detectron2's model zoo has it: a bare pickle of numpy arrays."""
    peer = detectron2_vitdet(rel_pos=False)
    arrays = {key: tensor.numpy() for key, tensor in peer.content['model'].items()}
    content = dict(model=arrays, __author__='somebody', matching_heuristics=True)
    return Peer(content, peer.tokens, final_norm=False, cls_token=False, suffix='.pkl')


def _rel_pos_attention(attn: nn.Module, x: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor) -> Tensor:
    """Attention of detectron2's ViT: ``q·scale·k + q·Rh + q·Rw``, all logits in memory."""
    offsets = torch.arange(GRID)[:, None] - torch.arange(GRID)[None] + GRID - 1
    qkv = attn.qkv(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    on_grid = q.unflatten(2, (GRID, GRID))
    bias_h = torch.einsum('bnhwc,hkc->bnhwk', on_grid, rel_pos_h[offsets])
    bias_w = torch.einsum('bnhwc,wkc->bnhwk', on_grid, rel_pos_w[offsets])
    bias = (bias_h[..., :, None] + bias_w[..., None, :]).flatten(4).flatten(2, 3)
    weights = F.softmax(q * (DIMS // HEADS) ** -0.5 @ k.mT + bias, dim=-1)
    return attn.proj((weights @ v).transpose(1, 2).flatten(2))


PEERS = {
    maker.__name__: maker
    for maker in (
        this_project,
        host_run,
        official_encoder,
        official_full,
        official_finetuned,
        timm,
        timm_layer_scale,
        timm_no_bias,
        mmpretrain_vit,
        mmpretrain_layer_scale_avg,
        mmpretrain_mae,
        mmseg_vit,
        mmseg_mae,
        hf_vit,
        hf_vit_bare,
        hf_vit_new_names,
        hf_mae,
        hf_mae_new_names,
        detectron2_vitdet,
        detectron2_pkl,
        dino,
        moco_v3,
        beit,
        hf_beit,
        mmpretrain_beit,
        mmseg_beit,
        beit_without_positions,
        hf_dinov2,
        dinov2_in_chunks,
        compiled,
        sam,
        hf_sam,
        mmpretrain_sam,
    )
}
