"""Checkpoint layouts in the wild, and the keys that tell one from another."""

from typing import Any, NamedTuple

from .families import DINOV2, DINOV3_BASE, DINOV3_HEADS, MMPRETRAIN, MOCO_V3, STANDARD, Heads
from .formats import DINOV3, HF_DINOV3, HF_FAMILY, HF_SAM, MM_FAMILY, OFFICIAL_FAMILY
from .formats_beside import DETECTRON2_NECK, HF_BESIDE, MMPRETRAIN_BESIDE, OFFICIAL_BESIDE


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
        gated: Whether MLPs that are gated are SwiGLU here, whatever their names are.
        rotary_base: Base of rotary positions, in DINOv3's manner; None for a table of positions.
        norm_eps: Of the LayerNorms, where all models of this layout have the same.
        resize: How its own code resizes the table, one of :data:`mae_plugin.geometry.RESIZES`.
        absent: A regular expression that is found in no key; None for no such.
    """

    name: str
    marks: tuple[str, ...]
    patch: str
    encoder: dict[str, str]
    beside: dict[str, str]
    encoder_prefix: str
    heads: Heads = STANDARD
    heads_are_sure: bool = False
    gated: bool = False
    rotary_base: float | None = None
    norm_eps: float | None = None
    resize: str = 'bicubic'
    absent: str | None = None


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


_DINOV2: dict[str, Any] = dict(heads=DINOV2, heads_are_sure=True, gated=True)
_DINOV3: dict[str, Any] = dict(
    encoder=DINOV3,
    heads=DINOV3_HEADS,
    heads_are_sure=True,
    gated=True,
    rotary_base=DINOV3_BASE,
    norm_eps=1e-5,
)
_SCALES = r'(^|\.)ls1\.gamma$'

# The first that fits is the one.
FORMATS = (
    _official('DINOv3', r'(^|\.)storage_tokens$', r'(^|\.)rope_embed\.periods$')._replace(
        beside={}, **_DINOV3
    ),
    _official('timm DINOv3', r'(^|\.)cls_token$', r'(^|\.)reg_token$', r'\.gamma_1$')._replace(
        absent=r'(^|\.)pos_embed$', **_DINOV3
    ),
    _official('DINOv2 with registers', r'(^|\.)register_tokens$', _SCALES)._replace(
        beside={}, resize='bicubic-antialias', **_DINOV2
    ),
    _official('DINOv2', r'(^|\.)mask_token$', _SCALES)._replace(
        absent=r'decoder', beside={}, resize='bicubic-offset', **_DINOV2
    ),
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
    _official('timm ViT with layer scale (as DINOv2)', _SCALES)._replace(
        heads={**STANDARD, **DINOV2}, gated=True, resize='bicubic-antialias'
    ),
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
    Format(
        'Hugging Face DINOv3',
        (r'(^|\.)layer\.\d+\.layer_scale1\.lambda1$',),
        'embeddings.patch_embeddings.weight',
        {},
        {},
        'dinov3_vit.',
    )._replace(**_DINOV3 | dict(encoder=HF_DINOV3)),
    _hf(
        'Hugging Face DINOv2 with registers',
        r'\.layer_scale1\.lambda1$',
        r'embeddings\.register_tokens$',
    )._replace(encoder_prefix='dinov2_with_registers.', resize='bicubic-antialias', **_DINOV2),
    _hf('Hugging Face DINOv2', r'\.layer_scale1\.lambda1$')._replace(
        encoder_prefix='dinov2.', **_DINOV2
    ),
    _hf('Hugging Face BEiT', r'\.(lambda_1|relative_position_bias_table)$'),
    _hf('Hugging Face ViT or ViTMAE'),
)


class Unknown(NamedTuple):
    """A family that is recognised and not computed.

    Attributes:
        name: For people.
        marks: As of :class:`Format`.
        lacks: What it needs that the trunk does not have.
    """

    name: str
    marks: tuple[str, ...]
    lacks: str


NOT_COMPUTED = (
    Unknown(
        'Sapiens2',
        (r'\.attn\.w[qkv]\.weight$', r'\.ffn\.w12\.'),
        'normalised queries and keys, fewer keys than queries, gated MLPs without biases',
    ),
    Unknown(
        'EVA-02',
        (r'\.mlp\.(ffn_ln|norm)\.weight$', r'\.attn\.(q_proj\.weight|q_bias)$'),
        'rotary positions beside a table, and LayerNorms inside its MLPs',
    ),
    Unknown(
        'Hiera',
        (r'(^|\.)pos_embed_(spatial|temporal|window|win)$|mask_unit', r'\.attn\.qkv\.weight$'),
        'stages of several widths, and pooling between them',
    ),
    Unknown(
        'SigLIP',
        (r'(^|\.)vision_model\.embeddings\.patch_embedding\.weight$', r'\.self_attn\.q_proj\.'),
        'pooling by attention, and the approximation of GELU by tanh (load its timm file instead)',
    ),
    Unknown(
        'Perception Encoder',
        (r'(^|\.)visual\.conv1\.weight$', r'\.attn\.in_proj_weight$'),
        "CLIP's layout, a norm before the first block, and rotary positions beside a table",
    ),
)
