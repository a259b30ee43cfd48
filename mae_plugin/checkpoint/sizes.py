"""What can be read off an encoder's shapes."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from mae_plugin.arch import ARCHS
from mae_plugin.errors import UserError


class Sizes(NamedTuple):
    """What can be read off an encoder's shapes."""

    width: int
    depth: int
    hidden: int
    patch_size: int
    in_channels: int
    positions: int
    cls_token: bool

    @property
    def arch(self) -> str:
        """Name of the ViT size, or 'custom'."""
        for name, arch in ARCHS.items():
            if (arch.embed_dims, arch.num_layers) == (self.width, self.depth):
                return name
        return 'custom'

    def __str__(self) -> str:
        return (
            f'{self.arch}: width {self.width}, depth {self.depth}, MLP {self.hidden}, '
            f'patch {self.patch_size}, {self.in_channels} channels, {self.positions} positions, '
            f'{"with" if self.cls_token else "no"} class token'
        )


def sizes(encoder: Mapping[str, Tensor]) -> Sizes:
    """Sizes of an encoder under our names; 0 for what it lacks.

    Raises:
        UserError: If its patches are not square pieces of images.
    """
    shape = tuple(encoder['patch_embed.proj.weight'].shape)
    if len(shape) != 4 or shape[2] != shape[3]:
        raise UserError(
            f'its patch projection has the shape {shape}, not (width, channels, p, p): only '
            'square patches of images are known, neither those of videos nor linear ones'
        )
    width, channels, patch_size, _ = shape
    blocks = {int(name.split('.')[1]) for name in encoder if name.startswith('blocks.')}
    hidden = encoder.get('blocks.0.mlp.fc1.weight')
    positions = encoder.get('pos_embed')
    return Sizes(
        width,
        max(blocks) + 1 if blocks else 0,
        0 if hidden is None else hidden.shape[0],
        patch_size,
        channels,
        0 if positions is None else positions.shape[1],
        'cls_token' in encoder,
    )
