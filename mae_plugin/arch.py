"""Sizes of Vision Transformers, by name, and the parts that families of them are made of."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mae_plugin.errors import UserError


class Arch(NamedTuple):
    """One ViT: its numbers, and its parts where they are not MAE's.

    Attributes:
        embed_dims: Width D.
        num_layers: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over D; of a gated one, what its last layer takes.
        mlp: 'gelu' or 'swiglu'.
        patch_size: p.
        img_size: Image side, or (H, W), at which position embeddings are made.
        num_cls_tokens: Class tokens, each with its own row of positions.
        num_register_tokens: Tokens behind these, which have no positions.
        positions: Config of the position part.
        layer_scale_init: Initial scale of the residual branches; None for none.
        key_bias: False if the keys' share of the qkv bias is held at zero.
        norm_eps: Of the LayerNorms.
    """

    embed_dims: int
    num_layers: int
    num_heads: int
    mlp_ratio: float = 4.0
    mlp: str = 'gelu'
    patch_size: int = 16
    img_size: int | tuple[int, int] = 224
    num_cls_tokens: int = 1
    num_register_tokens: int = 0
    positions: dict[str, Any] = {'type': 'SinCosPositions'}
    layer_scale_init: float | None = None
    key_bias: bool = True
    norm_eps: float = 1e-6


ARCHS = {
    'tiny': Arch(192, 12, 3),
    'small': Arch(384, 12, 6),
    'base': Arch(768, 12, 12),
    'large': Arch(1024, 24, 16),
    'huge': Arch(1280, 32, 16),
}
_Parts = dict[str, Any]
_LEARNED: _Parts = {'type': 'LearnedPositions'}
_DINOV2: _Parts = dict(
    patch_size=14,
    img_size=518,
    layer_scale_init=1e-5,
    positions=_LEARNED | {'resize': 'bicubic-offset'},
)
# The files with registers came later, and their code resizes in another way.
_DINOV2_REG: _Parts = _DINOV2 | dict(
    num_register_tokens=4, positions=_LEARNED | {'resize': 'bicubic-antialias'}
)
_DINOV3: _Parts = dict(
    num_register_tokens=4,
    layer_scale_init=1e-5,
    positions={'type': 'RotaryPositions'},
    key_bias=False,
    norm_eps=1e-5,
)
_PIXIO: _Parts = dict(img_size=256, num_cls_tokens=8, positions=_LEARNED)
_SAM: _Parts = dict(img_size=1024, num_cls_tokens=0, positions=_LEARNED)
_SAPIENS: _Parts = dict(img_size=1024)
_GIANT: _Parts = dict(mlp='swiglu', mlp_ratio=4096 / 1536)

FAMILY_ARCHS = {
    'dinov2-small': ARCHS['small']._replace(**_DINOV2),
    'dinov2-base': ARCHS['base']._replace(**_DINOV2),
    'dinov2-large': ARCHS['large']._replace(**_DINOV2),
    'dinov2-giant': Arch(1536, 40, 24, **_DINOV2 | _GIANT),
    'dinov2-small-reg': ARCHS['small']._replace(**_DINOV2_REG),
    'dinov2-base-reg': ARCHS['base']._replace(**_DINOV2_REG),
    'dinov2-large-reg': ARCHS['large']._replace(**_DINOV2_REG),
    'dinov2-giant-reg': Arch(1536, 40, 24, **_DINOV2_REG | _GIANT),
    'dinov3-small': ARCHS['small']._replace(**_DINOV3),
    'dinov3-small-plus': Arch(384, 12, 6, mlp='swiglu', **_DINOV3),
    'dinov3-base': ARCHS['base']._replace(**_DINOV3),
    'dinov3-large': ARCHS['large']._replace(**_DINOV3),
    'dinov3-huge-plus': Arch(1280, 32, 20, mlp='swiglu', **_DINOV3),
    'dinov3-7b': Arch(4096, 40, 32, mlp_ratio=2, mlp='swiglu', **_DINOV3),
    'pixio-base': ARCHS['base']._replace(**_PIXIO),
    'pixio-large': ARCHS['large']._replace(**_PIXIO),
    'pixio-huge': ARCHS['huge']._replace(**_PIXIO),
    'pixio-1b': Arch(1536, 48, 24, **_PIXIO),
    'pixio-5b': Arch(3072, 48, 32, **_PIXIO),
    'sam-base': ARCHS['base']._replace(**_SAM),
    'sam-large': ARCHS['large']._replace(**_SAM),
    'sam-huge': ARCHS['huge']._replace(**_SAM),
    'sapiens-0.3b': ARCHS['large']._replace(**_SAPIENS),
    'sapiens-0.6b': ARCHS['huge']._replace(**_SAPIENS),
    'sapiens-1b': Arch(1536, 40, 24, **_SAPIENS),
    'sapiens-2b': Arch(1920, 48, 32, **_SAPIENS),
}


def parse_arch(arch: str | Mapping[str, Any] | Arch) -> Arch:
    """What ``arch`` stands for.

    Args:
        arch: A name of :data:`ARCHS` or :data:`FAMILY_ARCHS`, or a dict with :class:`Arch`'s
            fields.

    Raises:
        UserError: If the name is unknown, or the dict's keys or values are not the right ones.
    """
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, str):
        known = ARCHS | FAMILY_ARCHS
        if arch not in known:
            raise UserError(
                f"unknown arch '{arch}': choose one of {', '.join(known)}, or give a dict with "
                f'{", ".join(Arch._fields[:4])}'
            )
        return known[arch]
    unknown = set(arch) - set(Arch._fields)
    missing = {'embed_dims', 'num_layers', 'num_heads'} - set(arch)
    if unknown or missing:
        raise UserError(
            f'arch={dict(arch)}: needs embed_dims, num_layers, num_heads and optionally '
            f'{", ".join(Arch._fields[3:])}; missing {sorted(missing)}, unknown {sorted(unknown)}'
        )
    sizes = ('embed_dims', 'num_layers', 'num_heads')
    broken = [key for key in sizes if not isinstance(arch[key], int)]
    if broken:
        raise UserError(f'arch={dict(arch)}: give whole numbers for {", ".join(broken)}')
    return Arch(**arch)


def config_sizes(backbone: Mapping[str, Any]) -> tuple[Any, int]:
    """``img_size`` and ``patch_size`` of a ViT's config: its own, or those of its ``arch``."""
    try:
        arch = parse_arch(backbone.get('arch') or 'base')
    except UserError:  # another toolbox's name
        arch = ARCHS['base']
    return backbone.get('img_size', arch.img_size), backbone.get('patch_size', arch.patch_size)
