"""Low-rank adapters on a frozen backbone (LoRA, Hu et al. 2021, arXiv 2106.09685)."""

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mae_plugin.compat import after_state_dict
from mae_plugin.errors import UserError
from mae_plugin.logs import log
from mae_plugin.registry import MODELS

from .parts import build_part


class LowRank(nn.Module):
    """Adds ``alpha / rank · up · down`` to a weight; nothing at first, since ``up`` is zero.

    Args:
        weight: (N, K), of the linear layer.
        rank: Of the two factors, ``up`` (N, rank) and ``down`` (rank, K).
        alpha: Scale of their product, times ``rank``.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.scale = alpha / rank
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """(N, K) to (N, K)."""
        return weight + self.scale * (self.up @ self.down)


@MODELS.register_module()
class LoRA(BaseModule):
    """A backbone of which low-rank adapters alone are trained.

    The adapters are parametrizations of the weights (``torch.nn.utils.parametrize``), not layers
    of their own as in mmpretrain's ``LoRAModel`` and in peft: windowed attention reads the weight
    of its projections, and would not see those. Each layer's gradient is formed and multiplied
    into its factors', so that a step saves the memory of optimizer and gradients rather than time.

    The state dict has the adapters alone. The frozen weights come from the ``init_cfg`` of
    ``module``, whose file must still be there when a checkpoint is tested or resumed;
    ``tools/merge_lora.py`` makes a checkpoint that needs none. Everything else of the backbone is
    reached through the wrapper.

    Args:
        module: Config of the backbone, with ``init_cfg=dict(type='Pretrained', checkpoint=FILE)``.
        rank: Of the adapters.
        alpha: Their scale is ``alpha / rank``; ``rank`` by default.
        targets: Names of the linear layers, as their parents call them.

    Raises:
        UserError: If no linear layer has one of the names, or ``rank`` is less than 1.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        rank: int = 16,
        alpha: float | None = None,
        targets: Sequence[str] = ('qkv', 'proj'),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if rank < 1:
            raise UserError(f'rank={rank}: adapters have a rank of at least 1')
        self.module = build_part(module)
        self._config = copy.deepcopy(module) if isinstance(module, dict) else None
        self.module.requires_grad_(False)
        layers = list(find_linear(self.module, targets))
        if not layers:
            raise UserError(
                f'targets={tuple(targets)}: {type(self.module).__name__} has no linear layer of '
                'such a name'
            )
        for layer in layers:
            parametrize.register_parametrization(
                layer, 'weight', LowRank(layer.weight, rank, alpha or rank)
            )
        after_state_dict(self, _adapters_alone)
        adapters, total = self.adapter_size, sum(p.numel() for p in self.module.parameters())
        log(
            f'LoRA: adapters of rank {rank} on {len(layers)} layers, {adapters / 1e6:.3g} M '
            f'parameters, {adapters / total:.1%} of the backbone',
        )

    @property
    def adapter_size(self) -> int:
        """int: Parameters of all adapters."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def init_weights(self) -> None:
        """Load the frozen weights, once."""
        self._is_init = True
        if self._config is None:
            return
        if not self._config.get('init_cfg'):
            log(
                'LoRA: the module has no init_cfg, so that adapters are trained on random weights',
                logging.WARNING,
            )
        # A backbone without adapters, under whose names a file is read.
        source = build_part(self._config)
        if isinstance(source, BaseModule):
            source.init_weights()
        values, self._config = source.state_dict(), None
        with torch.no_grad():
            for key, own in self.module.state_dict().items():
                if not is_adapter(key):
                    own.copy_(values[key.replace('.parametrizations.weight.original', '.weight')])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the backbone gives."""
        return self.module(*args, **kwargs)

    def merge(self) -> nn.Module:
        """The backbone with its adapters added to its weights, under its ordinary names."""
        for layer in list(self.module.modules()):
            if parametrize.is_parametrized(layer, 'weight'):
                parametrize.remove_parametrizations(layer, 'weight', leave_parametrized=True)
        return self.module

    def get_layer_depth(self, name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer decay: the backbone's."""
        return self.module.get_layer_depth(name, f'{prefix}module.')

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Torch's way in: a state dict has the adapters, and the rest is as it was loaded.

        Raises:
            UserError: If there are no adapters in it.
        """
        own = self.module.state_dict(prefix=f'{prefix}module.')
        adapters = {key for key in own if is_adapter(key)}
        if not adapters & set(state_dict):
            raise UserError(
                f"no adapter in the state dict's part '{prefix}': the frozen weights of LoRA come "
                "from its module's init_cfg=dict(type='Pretrained', checkpoint=FILE), or from "
                '--pretrained FILE of our tools/train.py, not from load_from'
            )
        if not self._is_init:  # a test of a checkpoint initialises nothing
            self.init_weights()
        state_dict.update({key: value for key, value in own.items() if key not in adapters})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getattr__(self, name: str) -> Any:
        """What the wrapper has not, the backbone may have: ``out_channels``, ``patch_size`` ..."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == 'module':
                raise
            return getattr(self.module, name)


def find_linear(module: nn.Module, names: Sequence[str]) -> Iterator[nn.Linear]:
    """The linear layers below ``module`` whose last name is one of ``names``."""
    for path, part in module.named_modules():
        if isinstance(part, nn.Linear) and path.rpartition('.')[2] in names:
            yield part


def is_adapter(key: str) -> bool:
    """Whether a key of a state dict is an adapter's."""
    return key.endswith(('.parametrizations.weight.0.up', '.parametrizations.weight.0.down'))


def _adapters_alone(module: nn.Module, state: dict, prefix: str, metadata: dict) -> None:
    for key in [key for key in state if key.startswith(prefix) and not is_adapter(key)]:
        del state[key]
