"""What can be read off an encoder's shapes."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from mae_plugin.arch import ARCHS
from mae_plugin.errors import UserError


class Sizes(NamedTuple):
    """What can be read off an encoder's shapes.

    Attributes:
        hidden: What the MLP's last layer takes.
        positions: Rows of the position embeddings; 0 without a table.
        mlp: 'gelu' or, gated, 'swiglu'.
    """

    width: int
    depth: int
    hidden: int
    patch_size: int
    in_channels: int
    positions: int
    cls_tokens: int
    register_tokens: int = 0
    mlp: str = 'gelu'

    @property
    def arch(self) -> str:
        """Name of the ViT size, or 'custom'."""
        for name, arch in ARCHS.items():
            if (arch.embed_dims, arch.num_layers) == (self.width, self.depth):
                return name
        return 'custom'

    def __str__(self) -> str:
        return (
            f'{self.arch}: width {self.width}, depth {self.depth}, '
            f'{"SwiGLU" if self.mlp == "swiglu" else "MLP"} {self.hidden}, '
            f'patch {self.patch_size}, {self.in_channels} channels, {self.positions} positions, '
            f'{_tokens(self.cls_tokens)}'
            + (f', {self.register_tokens} register tokens' if self.register_tokens else '')
        )


def _tokens(count: int) -> str:
    if count > 1:
        return f'{count} class tokens'
    return f'{"with" if count else "no"} class token'


def _count(encoder: Mapping[str, Tensor], name: str) -> int:
    return encoder[name].shape[-2] if name in encoder else 0


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
    mlp = 'swiglu' if 'blocks.0.mlp.w3.weight' in encoder else 'gelu'
    first, last = (encoder.get(f'blocks.0.mlp.{name}.weight') for name in ('fc1', 'w3'))
    if last is not None:
        hidden = last.shape[1]
    else:
        hidden = 0 if first is None else first.shape[0]
    positions = encoder.get('pos_embed')
    return Sizes(
        width,
        max(blocks) + 1 if blocks else 0,
        hidden,
        patch_size,
        channels,
        0 if positions is None else positions.shape[1],
        _count(encoder, 'cls_token'),
        _count(encoder, 'register_tokens'),
        mlp,
    )
