"""The trunk that a file's encoder is: what to build to get exactly its features."""

from typing import Any

from mae_plugin.arch import ARCHS, FAMILY_ARCHS, Arch
from mae_plugin.geometry import Grid

from .recognise import Recognised
from .sizes import sizes

# What the table of a family's names is compared by; how positions are resized no file tells.
_COMPARED = (
    'embed_dims',
    'num_layers',
    'num_heads',
    'mlp',
    'patch_size',
    'num_cls_tokens',
    'num_register_tokens',
)


def encoder_arch(found: Recognised, num_heads: int, grid: Grid | None = None) -> Arch:
    """Numbers and parts of the encoder.

    Args:
        found: The encoder.
        num_heads: Its attention heads.
        grid: Grid of its position embeddings, where it is known.
    """
    size, form = sizes(found.encoder), found.format
    positions: dict[str, Any] = dict(type='LearnedPositions', resize=form.resize)
    if form.rotary_base is not None or 'positions.periods' in found.encoder:
        positions = dict(type='RotaryPositions')
    eps = found.facts.norm_eps
    return Arch(
        size.width,
        size.depth,
        num_heads,
        size.hidden / size.width,
        size.mlp,
        size.patch_size,
        (grid[0] if grid else 224 // size.patch_size) * size.patch_size,
        size.cls_tokens,
        size.register_tokens,
        positions,
        1.0 if 'blocks.0.gamma_1' in found.encoder else None,
        key_bias=form.rotary_base is None,
        norm_eps=1e-6 if eps is None else eps.value,
    )


def arch_name(arch: Arch) -> str | None:
    """The name that ``arch`` takes for such a trunk; None if it has none."""
    for name, known in (ARCHS | FAMILY_ARCHS).items():
        if (
            all(getattr(arch, field) == getattr(known, field) for field in _COMPARED)
            and abs(arch.mlp_ratio - known.mlp_ratio) < 1e-6
            and (arch.layer_scale_init is None) == (known.layer_scale_init is None)
            and _is_rotary(arch) == _is_rotary(known)
            and (_is_rotary(arch) or arch.img_size == known.img_size)
        ):
            return name
    return None


def _is_rotary(arch: Arch) -> bool:
    return arch.positions['type'] == 'RotaryPositions'
