"""Checkpoint layouts in the wild, as literal tables: their key -> ours.

``{}`` is the index of a block. A name without ``weight`` or ``bias`` stands for both. Ours are the
official MAE names; what other models split or fold is translated into intermediate names
(``attn.q``, ``attn.k``, ``attn.v``), which :mod:`.recognise` fuses into ``attn.qkv``.
"""

from typing import NamedTuple

from .families import MMPRETRAIN as MMPRETRAIN_HEADS
from .families import MOCO_V3, STANDARD, Heads

OFFICIAL_BLOCK = {
    'norm1': 'norm1',
    'attn.qkv': 'attn.qkv',
    'attn.proj': 'attn.proj',
    'norm2': 'norm2',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
}
# What descendants of the official layout add or rename: BEiT, timm's and DINOv2's layer scale,
# detectron2's ViTDet, SAM.
OFFICIAL_EXTRAS = {
    'attn.q_bias': 'attn.q.bias',
    'attn.v_bias': 'attn.v.bias',
    'gamma_1': 'gamma_1',
    'gamma_2': 'gamma_2',
    'ls1.gamma': 'gamma_1',
    'ls2.gamma': 'gamma_2',
    'attn.rel_pos_h': 'attn.rel_pos_h',
    'attn.rel_pos_w': 'attn.rel_pos_w',
    'mlp.lin1': 'mlp.fc1',
    'mlp.lin2': 'mlp.fc2',
}
MMPRETRAIN_BLOCK = {
    'ln1': 'norm1',
    'attn.qkv': 'attn.qkv',
    'attn.proj': 'attn.proj',
    'ln2': 'norm2',
    'ffn.layers.0.0': 'mlp.fc1',
    'ffn.layers.1': 'mlp.fc2',
}
# Layer scale of mmpretrain, then of mmseg's MAE and BEiT; BEiT's biases; ViTSAM's positions.
MMPRETRAIN_EXTRAS = {
    'attn.gamma1.weight': 'gamma_1',
    'ffn.gamma2.weight': 'gamma_2',
    'gamma_1': 'gamma_1',
    'gamma_2': 'gamma_2',
    'attn.q_bias': 'attn.q.bias',
    'attn.v_bias': 'attn.v.bias',
    'attn.rel_pos_h': 'attn.rel_pos_h',
    'attn.rel_pos_w': 'attn.rel_pos_w',
}
# mmseg's VisionTransformer wraps torch's MultiheadAttention.
MMSEG_BLOCK = {
    'ln1': 'norm1',
    'attn.attn.in_proj_weight': 'attn.qkv.weight',
    'attn.attn.in_proj_bias': 'attn.qkv.bias',
    'attn.attn.out_proj': 'attn.proj',
    'ln2': 'norm2',
    'ffn.layers.0.0': 'mlp.fc1',
    'ffn.layers.1': 'mlp.fc2',
}
# Hugging Face's files and transformers up to 4; transformers 5 renamed the modules.
HF_BLOCK = {
    'layernorm_before': 'norm1',
    'attention.attention.query': 'attn.q',
    'attention.attention.key': 'attn.k',
    'attention.attention.value': 'attn.v',
    'attention.output.dense': 'attn.proj',
    'layernorm_after': 'norm2',
    'intermediate.dense': 'mlp.fc1',
    'output.dense': 'mlp.fc2',
}
HF5_BLOCK = {
    'layernorm_before': 'norm1',
    'attention.q_proj': 'attn.q',
    'attention.k_proj': 'attn.k',
    'attention.v_proj': 'attn.v',
    'attention.o_proj': 'attn.proj',
    'layernorm_after': 'norm2',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
}
HF_EXTRAS = {'lambda_1': 'gamma_1', 'lambda_2': 'gamma_2'}
# Where Dinov2 differs from HF_BLOCK.
HF_DINOV2 = {
    'norm1': 'norm1',
    'norm2': 'norm2',
    'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2',
    'layer_scale1.lambda1': 'gamma_1',
    'layer_scale2.lambda1': 'gamma_2',
}
HF_SAM_BLOCK = {
    'layer_norm1': 'norm1',
    'attn.qkv': 'attn.qkv',
    'attn.proj': 'attn.proj',
    'attn.rel_pos_h': 'attn.rel_pos_h',
    'attn.rel_pos_w': 'attn.rel_pos_w',
    'layer_norm2': 'norm2',
    'mlp.lin1': 'mlp.fc1',
    'mlp.lin2': 'mlp.fc2',
}

OFFICIAL_STEM = {
    'patch_embed.proj': 'patch_embed.proj',
    'cls_token': 'cls_token',
    'pos_embed': 'pos_embed',
    'norm': 'norm',
}
MM_STEM = {
    'patch_embed.projection': 'patch_embed.proj',
    'cls_token': 'cls_token',
    'pos_embed': 'pos_embed',
    'ln1': 'norm',
}
HF_STEM = {
    'embeddings.patch_embeddings.projection': 'patch_embed.proj',
    'embeddings.cls_token': 'cls_token',
    'embeddings.position_embeddings': 'pos_embed',
    'layernorm': 'norm',
}


def _blocks(theirs: str, ours: str, *tables: dict[str, str]) -> dict[str, str]:
    """Put block prefixes before the names of block tables."""
    return {f'{theirs}.{k}': f'{ours}.{v}' for table in tables for k, v in table.items()}


OFFICIAL = OFFICIAL_STEM | _blocks('blocks.{}', 'blocks.{}', OFFICIAL_BLOCK)
MMPRETRAIN = MM_STEM | _blocks('layers.{}', 'blocks.{}', MMPRETRAIN_BLOCK)
MMSEG = MM_STEM | _blocks('layers.{}', 'blocks.{}', MMSEG_BLOCK)
HF = HF_STEM | _blocks('encoder.layer.{}', 'blocks.{}', HF_BLOCK)
HF5 = HF_STEM | _blocks('layers.{}', 'blocks.{}', HF5_BLOCK)

OFFICIAL_FAMILY = OFFICIAL | _blocks('blocks.{}', 'blocks.{}', OFFICIAL_EXTRAS)
# ln2 is the norm after average pooling.
MM_FAMILY = (
    MMPRETRAIN
    | {'ln2': 'neck.fc_norm'}
    | _blocks('layers.{}', 'blocks.{}', MMSEG_BLOCK, MMPRETRAIN_EXTRAS)
)
HF_FAMILY = (
    HF
    | HF5
    | _blocks('encoder.layer.{}', 'blocks.{}', HF_EXTRAS, HF_DINOV2)
    | _blocks('layers.{}', 'blocks.{}', HF_EXTRAS)
)
HF_SAM = {
    'patch_embed.projection': 'patch_embed.proj',
    'pos_embed': 'pos_embed',
} | _blocks('layers.{}', 'blocks.{}', HF_SAM_BLOCK)

# Decoders: their key -> key of our MAE.
OFFICIAL_DECODER = {
    'decoder_embed': 'decoder.embed',
    'mask_token': 'decoder.mask_token',
    'decoder_pos_embed': 'decoder.pos_embed',
    'decoder_norm': 'decoder.norm',
    'decoder_pred': 'head.pred',
} | _blocks('decoder_blocks.{}', 'decoder.blocks.{}', OFFICIAL_BLOCK)
MMPRETRAIN_DECODER = {
    'neck.decoder_embed': 'decoder.embed',
    'neck.mask_token': 'decoder.mask_token',
    'neck.decoder_pos_embed': 'decoder.pos_embed',
    'neck.ln1': 'decoder.norm',
    'neck.decoder_pred': 'head.pred',
} | _blocks('neck.decoder_blocks.{}', 'decoder.blocks.{}', MMPRETRAIN_BLOCK)
HF_DECODER = {
    'decoder.decoder_embed': 'decoder.embed',
    'decoder.mask_token': 'decoder.mask_token',
    'decoder.decoder_pos_embed': 'decoder.pos_embed',
    'decoder.decoder_norm': 'decoder.norm',
    'decoder.decoder_pred': 'head.pred',
} | _blocks('decoder.decoder_layers.{}', 'decoder.blocks.{}', HF_BLOCK)

# What may stand beside an encoder: a decoder, or what our classifiers have behind it.
OFFICIAL_BESIDE = OFFICIAL_DECODER | {'fc_norm': 'neck.fc_norm', 'head': 'head.fc'}
MMPRETRAIN_BESIDE = MMPRETRAIN_DECODER | {'head.layers.head': 'head.fc'}
HF_BESIDE = (
    HF_DECODER
    | _blocks('decoder.decoder_layers.{}', 'decoder.blocks.{}', HF5_BLOCK)
    | {'classifier': 'head.fc'}
)


class Format(NamedTuple):
    """One layout.

    Attributes:
        name: For people.
        marks: Regular expressions; the layout is this one if each is found in some key.
        patch: Key of the patch projection's weight: what precedes it is the encoder's prefix.
        encoder: Table of the encoder's keys, after the prefix.
        beside: Table of the keys beside the encoder, after the prefix less ``encoder_prefix``.
        encoder_prefix: Name of the encoder in a full model of this layout.
        heads: Attention heads of the sizes that this layout's models have, where all agree.
        heads_are_sure: Whether no model of this layout has others.
    """

    name: str
    marks: tuple[str, ...]
    patch: str
    encoder: dict[str, str]
    beside: dict[str, str]
    encoder_prefix: str
    heads: Heads = STANDARD
    heads_are_sure: bool = False


def _official(name: str, *marks: str, prefix: str = '') -> Format:
    beside = {} if prefix else OFFICIAL_BESIDE
    return Format(name, marks, 'patch_embed.proj.weight', OFFICIAL_FAMILY, beside, prefix)


def _mm(name: str, *marks: str) -> Format:
    return Format(
        name,
        marks,
        'patch_embed.projection.weight',
        MM_FAMILY,
        MMPRETRAIN_BESIDE,
        'backbone.',
        MMPRETRAIN_HEADS,
    )


def _hf(name: str, *marks: str) -> Format:
    patch = 'embeddings.patch_embeddings.projection.weight'
    return Format(name, marks, patch, HF_FAMILY, HF_BESIDE, 'vit.')


# The first that fits is the one.
FORMATS = (
    _official('MoCo v3', r'(base|momentum)_encoder\.patch_embed\.')._replace(
        heads=MOCO_V3, heads_are_sure=True
    ),
    _official('detectron2 ViTDet', r'(^|\.)backbone\.net\.patch_embed\.'),
    _official('DINO', r'^(teacher|student)\.'),
    _official('SAM', r'(^|\.)neck\.\d\.weight$', r'(^|\.)blocks\.\d+\.attn\.rel_pos_h$'),
    _official(
        'MAE of this project',
        r'(^|\.)backbone\.patch_embed\.',
        r'(^|\.)decoder\.embed\.weight$',
        prefix='backbone.',
    ),
    _official('MAE, official, with decoder', r'(^|\.)decoder_embed\.weight$'),
    _official('BEiT', r'\.(q_bias|relative_position_bias_table)$'),
    _official('MAE, official, fine-tuned', r'^model\.fc_norm\.weight$'),
    _official('official layout, encoder alone (MAE, DeiT)', r'^model\.patch_embed\.'),
    _official('model with a backbone of this project', r'backbone\.patch', prefix='backbone.'),
    _official('timm ViT (or the official layout, bare)'),
    Format(
        'Hugging Face SAM',
        (r'(^|\.)layers\.\d+\.layer_norm1\.weight$', r'\.attn\.rel_pos_h$'),
        'patch_embed.projection.weight',
        HF_SAM,
        {},
        'vision_encoder.',
    ),
    _mm('mmpretrain MoCo v3', r'(^|\.)momentum_encoder\.module\.0\.patch_embed\.')._replace(
        heads=MOCO_V3, heads_are_sure=True
    ),
    _mm('mmpretrain ViTSAM', r'(^|\.)layers\.\d+\.attn\.rel_pos_h$'),
    _mm('mmseg MAE', r'\.attn\.qkv\.bias$', r'relative_position_bias_table$'),
    _mm('BEiT of mmpretrain or mmseg', r'\.(q_bias|relative_position_bias_table)$'),
    _mm('mmseg VisionTransformer', r'\.attn\.attn\.in_proj_weight$'),
    _mm('mmpretrain MAE, with decoder', r'(^|\.)neck\.decoder_embed\.weight$'),
    _mm('mmpretrain VisionTransformer'),
    _hf('Hugging Face ViTMAE, with decoder', r'(^|\.)decoder\.decoder_embed\.weight$'),
    _hf('Hugging Face DINOv2', r'\.layer_scale1\.lambda1$'),
    _hf('Hugging Face BEiT', r'\.(lambda_1|relative_position_bias_table)$'),
    _hf('Hugging Face ViT or ViTMAE'),
)
