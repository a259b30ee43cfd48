"""Weights of a frozen module that a target asks: all of them, or an error."""

from collections.abc import Mapping
from typing import Any

from mmengine.model import PretrainedInit
from torch import Tensor, nn

from mae_plugin.checkpoint.load import read_checkpoint
from mae_plugin.checkpoint.report import shorten
from mae_plugin.errors import UserError

from .vit import ViT

# Where other toolboxes' files have a backbone.
_PREFIXES = ('', 'backbone.', 'model.', 'module.')


def load_frozen(module: nn.Module) -> None:
    """Initialise a module as its ``init_cfg`` says, and load the file that it names, whole.

    A ``ViT`` of ours does so by itself, from any layout. For modules of other toolboxes mmengine
    would leave what a file lacks at random values, with a line in the log.

    Args:
        module: Built, not initialised. ``init_cfg=dict(type='Pretrained', checkpoint=FILE)``
            takes ``prefix`` as mmengine's does (found where it is left out), and ``trust``.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If the file cannot be read safely, or lacks a weight of the module.
    """
    init_cfg: Any = getattr(module, 'init_cfg', None)
    files = 'Pretrained', PretrainedInit
    is_file = isinstance(init_cfg, Mapping) and init_cfg.get('type') in files
    if isinstance(module, ViT) or not is_file:
        if hasattr(module, 'init_weights'):
            module.init_weights()
        return
    file = init_cfg['checkpoint']
    content = read_checkpoint(file, init_cfg.get('trust', False))
    state = _part(content.get('state_dict', content), module, init_cfg.get('prefix'))
    try:
        missing = module.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:  # so torch tells of other shapes
        told = ' '.join(str(error).split())
        raise UserError(f'cannot load {file}: {told}: build the module as the file is') from None
    if missing:
        raise UserError(
            f'{file} does not hold {shorten(missing)} of {type(module).__name__}, whose random '
            'values would be the target: build it as the file is, or give init_cfg the prefix '
            f'of its names there, such as {shorten(content.get("state_dict", content), 3)}'
        )


def _part(state: Mapping[str, Tensor], module: nn.Module, prefix: str | None) -> dict[str, Tensor]:
    """The tensors below a prefix; where it is not given, below that which fits best."""
    own = set(module.state_dict())

    def below(prefix: str) -> dict[str, Tensor]:
        keys = [key for key in state if key.startswith(prefix)]
        return {key.removeprefix(prefix): state[key] for key in keys}

    if prefix is not None:
        return below(prefix if prefix.endswith('.') or not prefix else f'{prefix}.')
    return max(map(below, _PREFIXES), key=lambda part: len(own & part.keys()))
