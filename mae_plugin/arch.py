"""Sizes of Vision Transformers, by name."""

from typing import NamedTuple

from mae_plugin.errors import UserError


class Arch(NamedTuple):
    """Numbers of one ViT size."""

    embed_dims: int
    num_layers: int
    num_heads: int
    mlp_ratio: float = 4.0


ARCHS = {
    'tiny': Arch(192, 12, 3),
    'small': Arch(384, 12, 6),
    'base': Arch(768, 12, 12),
    'large': Arch(1024, 24, 16),
    'huge': Arch(1280, 32, 16),
}


def parse_arch(arch: str | dict) -> Arch:
    """Numbers of ``arch``, a name of :data:`ARCHS` or a dict with :class:`Arch`'s fields.

    Raises:
        UserError: If the name is unknown, or the dict's keys are not the right ones.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise UserError(
                f"unknown arch '{arch}': choose one of {', '.join(ARCHS)}, or give a dict with "
                f'{", ".join(Arch._fields)}'
            )
        return ARCHS[arch]
    unknown = set(arch) - set(Arch._fields)
    missing = {'embed_dims', 'num_layers', 'num_heads'} - set(arch)
    if unknown or missing:
        raise UserError(
            f'arch={dict(arch)}: needs embed_dims, num_layers, num_heads and optionally '
            f'mlp_ratio; missing {sorted(missing)}, unknown {sorted(unknown)}'
        )
    sizes = ('embed_dims', 'num_layers', 'num_heads')
    broken = [key for key in sizes if not isinstance(arch[key], int)]
    if broken:
        raise UserError(f'arch={dict(arch)}: give whole numbers for {", ".join(broken)}')
    return Arch(**arch)
