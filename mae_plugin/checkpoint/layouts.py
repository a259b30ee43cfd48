"""Checkpoint layouts in the wild, and the keys that tell one from another."""

from typing import NamedTuple

from .families import MMPRETRAIN, MOCO_V3, STANDARD, Heads
from .formats import (
    DETECTRON2_NECK,
    HF_BESIDE,
    HF_FAMILY,
    HF_SAM,
    MM_FAMILY,
    MMPRETRAIN_BESIDE,
    OFFICIAL_BESIDE,
    OFFICIAL_FAMILY,
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
        MMPRETRAIN,
    )


def _hf(name: str, *marks: str) -> Format:
    patch = 'embeddings.patch_embeddings.projection.weight'
    return Format(name, marks, patch, HF_FAMILY, HF_BESIDE, 'vit.')


# The first that fits is the one.
FORMATS = (
    _official('MoCo v3', r'(base|momentum)_encoder\.patch_embed\.')._replace(
        heads=MOCO_V3, heads_are_sure=True
    ),
    _official('detectron2 ViTDet', r'(^|\.)backbone\.net\.patch_embed\.')._replace(
        beside=DETECTRON2_NECK, encoder_prefix='net.'
    ),
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
