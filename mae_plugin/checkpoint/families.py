"""What each family of ViTs means by its names: heads, activations and eps, as literal tables.

No tensor shows them, and no name means the same everywhere: ``small`` is 384 wide here and 768 in
mmpretrain, ``vit_small`` has 6 heads in DINO and 12 in MoCo v3.
"""

from collections.abc import Mapping
from typing import NamedTuple

from mae_plugin.arch import ARCHS, FAMILY_ARCHS, Arch

# Heads of a (width, depth).
Heads = Mapping[tuple[int, int], int]

# 64 numbers per head, but 80 in H: MAE, timm, DeiT, DINO, BEiT, SAM, Hugging Face.
STANDARD: Heads = {(arch.embed_dims, arch.num_layers): arch.num_heads for arch in ARCHS.values()}
# Pixio's sizes beyond these.
STANDARD = {**STANDARD, (1536, 48): 24, (3072, 48): 32}
# vits.py: 12 heads in each size.
MOCO_V3: Heads = {(384, 12): 12, (768, 12): 12}
# Not (384, 12): 6 heads in deit-small, 12 in mocov3-small.
MMPRETRAIN: Heads = {
    (192, 12): 3,
    (768, 8): 8,
    (768, 12): 12,
    (1024, 24): 16,
    (1280, 32): 16,
    # Sapiens.
    (1536, 40): 24,
    (1920, 48): 32,
}
NONE: Heads = {}


def _heads(family: str) -> Heads:
    archs = [arch for name, arch in FAMILY_ARCHS.items() if name.startswith(f'{family}-')]
    return {(arch.embed_dims, arch.num_layers): arch.num_heads for arch in archs}


DINOV2, DINOV3_HEADS = _heads('dinov2'), _heads('dinov3')
# Of the rotary positions of all DINOv3.
DINOV3_BASE = 100.0


class Dialect(NamedTuple):
    """How the configs of one kind of backbone describe it.

    Attributes:
        archs: Sizes by the names that ``arch`` takes.
        default: ``arch`` where the config has none; None if such a backbone has no ``arch``, but
            width, depth and heads of its own.
        norm_eps: Of LayerNorms where the config says nothing.
    """

    archs: Mapping[str, Arch]
    default: str | None
    norm_eps: float = 1e-6


_SIZES: dict[tuple[str, ...], Arch] = {
    ('s', 'small'): Arch(768, 8, 8, 3),
    ('b', 'base', 'deit-b', 'deit-base'): Arch(768, 12, 12),
    ('l', 'large'): Arch(1024, 24, 16),
    ('h', 'huge'): Arch(1280, 32, 16),
    ('eva-g', 'eva-giant'): Arch(1408, 40, 16, 6144 / 1408),
    ('deit-t', 'deit-tiny'): Arch(192, 12, 3),
    ('deit-s', 'deit-small', 'dinov2-s', 'dinov2-small'): Arch(384, 12, 6),
    ('mocov3-s', 'mocov3-small'): Arch(384, 12, 12),
    ('dinov2-g', 'dinov2-giant'): Arch(1536, 40, 24),
    # Sapiens' own mmpretrain.
    ('sapiens_0.3b',): Arch(1024, 24, 16),
    ('sapiens_0.6b',): Arch(1280, 32, 16),
    ('sapiens_1b',): Arch(1536, 40, 24),
    ('sapiens_2b',): Arch(1920, 48, 32),
}
_DEIT3_SIZES: dict[tuple[str, ...], Arch] = {
    ('s', 'small'): Arch(384, 12, 6),
    ('m', 'medium'): Arch(512, 12, 8),
    ('b', 'base'): Arch(768, 12, 12),
    ('l', 'large'): Arch(1024, 24, 16),
    ('h', 'huge'): Arch(1280, 32, 16),
}


def _by_name(sizes: Mapping[tuple[str, ...], Arch]) -> dict[str, Arch]:
    return {name: arch for names, arch in sizes.items() for name in names}


OURS = Dialect(ARCHS | FAMILY_ARCHS, 'base')
MMPRETRAIN_VIT = Dialect(_by_name(_SIZES), 'base')
MMPRETRAIN_DEIT3 = Dialect(_by_name(_DEIT3_SIZES), 'base')
MMSEG_VIT = Dialect({'default': Arch(768, 12, 12)}, None, norm_eps=1e-5)

# Backbones by toolbox and type.
DIALECTS: Mapping[str, Mapping[str, Dialect]] = {
    'mae_plugin': {'ViT': OURS, 'ViTBackbone': OURS},
    'mmpretrain': {
        'BEiTPretrainViT': MMPRETRAIN_VIT,
        'BEiTViT': MMPRETRAIN_VIT,
        'CAEPretrainViT': MMPRETRAIN_VIT,
        'DeiT3': MMPRETRAIN_DEIT3,
        'MAEViT': MMPRETRAIN_VIT,
        'MFFViT': MMPRETRAIN_VIT,
        'MILANViT': MMPRETRAIN_VIT,
        'MaskFeatViT': MMPRETRAIN_VIT,
        'MoCoV3ViT': MMPRETRAIN_VIT,
        'ViTSAM': MMPRETRAIN_VIT,
        'VisionTransformer': MMPRETRAIN_VIT,
    },
    'mmseg': {'BEiT': MMSEG_VIT, 'MAE': MMSEG_VIT, 'VisionTransformer': MMSEG_VIT},
}

# Sizes that names of timm and of the official repositories speak of: width by the word.
SIZE_WORDS = {'tiny': 192, 'small': 384, 'base': 768, 'large': 1024, 'huge': 1280}
# Names of timm, DeiT, DINO, BEiT and MAE, and their heads; the first pattern that fits counts.
NAMED: tuple[tuple[str, Heads], ...] = (
    (r'^vit_base_patch16_gap_', {(768, 12): 16}),
    (r'^vit_giantopt_', {(1536, 40): 16}),
    (r'^vit_giant_\w*dinov2', {(1536, 40): 24}),
    (r'_so400m_', {(1152, 27): 16}),
    (r'_giant_', {(1408, 40): 16}),
    (r'_gigantic_', {(1664, 48): 16}),
    (r'_medium_', {(512, 12): 8}),
    (r'_betwixt_', {(640, 12): 10}),
    (r'_plus_', {(896, 12): 14}),
    (r'^(mae_)?(vit|deit3?|beit(v2)?|eva|flexivit|samvit|cae|ibot)_', STANDARD),
)
# What such names say of a block that has a plain one's tensors and computes something else.
NAMED_OTHERWISE: tuple[tuple[str, str], ...] = (
    (r'_rpn_|^eva02_enormous', 'LayerNorms behind each branch instead of before it'),
    (r'_rope_|^eva02_', 'rotary positions'),
)
NAMED_ACTIVATIONS: tuple[tuple[str, str], ...] = (
    (r'_quickgelu', 'quick_gelu'),
    (
        r'^vit_(base_patch32_siglip|large_patch16_siglip\w*_512|giantopt_|so400m_patch16_siglip)',
        'gelu_tanh',
    ),
)

# Other names of the exact GELU, and of its approximation.
SAME_ACTIVATION = {
    'GELU': 'gelu',
    'gelu_python': 'gelu',
    'gelu_new': 'gelu_tanh',
    'gelu_fast': 'gelu_tanh',
    'gelu_pytorch_tanh': 'gelu_tanh',
    'GELUTanh': 'gelu_tanh',
    'QuickGELU': 'quick_gelu',
    'mmpretrain.QuickGELU': 'quick_gelu',
}
