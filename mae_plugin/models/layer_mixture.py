"""What a decoder reads of several of the encoder's blocks: weighted sums of their outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

InLayers = int | Sequence[int]


def read_blocks(in_layers: InLayers, num_layers: int) -> tuple[int, ...]:
    """Numbers of the blocks, from 0, that ``in_layers`` names.

    Args:
        in_layers: How many of the last blocks, or the numbers themselves.
        num_layers: Blocks of the encoder.
    """
    if isinstance(in_layers, int):
        return tuple(range(num_layers - in_layers, num_layers))
    return tuple(in_layers)


def mix_layers(weights: Tensor, layers: Sequence[Tensor]) -> Tensor:
    """Weighted sums of layers.

    Args:
        weights: (M, N), one row for each sum.
        layers: N of (B, T, D).

    Returns:
        (M, B, T, D).
    """
    return torch.tensordot(weights, torch.stack(list(layers)), dims=1)


class LayerFusion(nn.Module):
    """Shallow layers, each through a linear layer, added to the last (MFF, arXiv 2308.00261).

    The weights of the sum are a softmax, equal at the start.

    Args:
        dims: Width D of the layers.
        num_layers: How many there are, the last one included.
    """

    def __init__(self, dims: int, num_layers: int) -> None:
        super().__init__()
        self.proj = nn.ModuleList(nn.Linear(dims, dims) for _ in range(num_layers - 1))
        self.mix = nn.Parameter(torch.zeros(1, num_layers))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """Layers (B, T, D), the last one last, to one (B, T, D)."""
        *shallow, last = layers
        projected = [proj(layer) for proj, layer in zip(self.proj, shallow, strict=True)]
        return mix_layers(self.mix.softmax(1), [*projected, last])[0]
