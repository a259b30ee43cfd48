"""What a checkpoint must know of a model that it is loaded into: tensors, names and grids."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from mae_plugin.geometry import Grid


class TrunkSpec(NamedTuple):
    """A ViT as its checkpoint sees it.

    Attributes:
        name: What to call it in messages, such as ``'ViTBackbone'``.
        tensors: Its own state dict.
        grid: Patch grid (h, w) of its position embeddings.
        num_cls_tokens: Class tokens, each with a row of the position embeddings before the grid.
        num_heads: Attention heads, which no tensor shows.
        norm_eps: Of its LayerNorms.
        windows: Side of each block's attention windows in patches, 0 for global attention.
        resize: How it resizes position embeddings.
    """

    name: str
    tensors: Mapping[str, Tensor]
    grid: Grid
    num_cls_tokens: int
    num_heads: int
    norm_eps: float
    windows: tuple[int, ...]
    resize: str = 'bicubic'


class Trunk(Protocol):
    """A module that checkpoints of ViTs are loaded into."""

    def trunk_spec(self) -> TrunkSpec:
        """What a checkpoint must know of it."""
        ...


class ModelSpec(NamedTuple):
    """A model that holds one trunk or more.

    Attributes:
        tensors: Its whole state dict.
        trunks: Its ViTs by the prefix of their keys: ``'backbone.'``, ``''`` for itself.
        decoder_grid: Patch grid of a MAE decoder's position embeddings, if it has one.
        pool: How tokens become its head's input, 'cls' or 'avg', if it is a classifier of ours.
    """

    tensors: Mapping[str, Tensor]
    trunks: Mapping[str, TrunkSpec]
    decoder_grid: Grid | None = None
    pool: str | None = None


def find_trunks(module: nn.Module) -> dict[str, Trunk]:
    """The ViTs in a module, by the prefix of their keys; not those that hold adapters (LoRA).

    Files with a whole ViT are not for these: their weights came when the adapters were made.
    """
    return {
        f'{name}.' if name else '': part
        for name, part in module.named_modules()
        if hasattr(type(part), 'trunk_spec')  # of the instance, wrappers would pass it on
        and not any(map(is_parametrized, part.modules()))
    }


def model_spec(module: nn.Module) -> ModelSpec:
    """The spec of a model, from its modules."""
    trunks = {name: trunk.trunk_spec() for name, trunk in find_trunks(module).items()}
    parts = dict(module.named_children())
    grid = getattr(parts.get('decoder'), 'grid', None)
    pool = getattr(parts.get('neck'), 'pool', None)
    return ModelSpec(module.state_dict(), trunks, grid, pool if isinstance(pool, str) else None)
