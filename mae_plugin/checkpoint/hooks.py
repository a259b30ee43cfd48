"""Make every way of loading a state dict understand foreign layouts: ``load_from=`` above all.

mmengine's runners load with ``strict=False``, so a file whose keys do not match trains from
scratch without a word. A hook that runs before a model with one of our trunks loads a state dict
translates it, or stops with both sides shown. A state dict that fits is left alone.

A trunk's own hook sees only the keys under its own prefix, and foreign keys have another. So the
hook also has to sit on the models around the trunk. These do not exist yet when the trunk is
built; torch tells us when one takes it in as a submodule.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from mae_plugin.checkpoint.safe_load import safe_load, use_safe_loading

from .formats import NO_WEIGHTS

_MARK = '_holds_mae_plugin_trunk'
_watching = False


def understand_foreign_state_dicts(trunk: nn.Module) -> None:
    """Let a trunk, and every model that comes to hold it, load foreign state dicts.

    Args:
        trunk: A ViT under construction.
    """
    global _watching
    if not _watching:
        register_module_module_registration_hook(_adopt)
        _read_safely()
        _watching = True
    _mark(trunk)


def _read_safely() -> None:
    """Have mmengine read files through ``safe_load``, unless someone has decided already."""
    loader = CheckpointLoader._get_checkpoint_loader('file.pth')
    if loader.__module__ != safe_load.__module__:
        use_safe_loading()


def _mark(module: nn.Module) -> None:
    if not module.__dict__.get(_MARK):
        module.__dict__[_MARK] = True
        module.register_load_state_dict_pre_hook(_before_load)


def _adopt(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
    """Called by torch whenever ``module`` gets a submodule."""
    if submodule is not None and submodule.__dict__.get(_MARK):
        _mark(module)


def _before_load(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Translate ``state_dict`` in place if a trunk under ``prefix`` does not find itself in it.

    Raises:
        ValueError: If nothing in it covers the trunk.
    """
    from .load import adapt, find_trunks, log_report

    trunks = find_trunks(module)
    if all(_fits(trunk, state_dict, prefix + name) for name, trunk in trunks.items()):
        return
    if prefix and not any(key.startswith(prefix) for key in state_dict):
        # Filtered by a parent without this hook, so that nothing is left to translate.
        raise ValueError(
            f"no key of the state dict begins with '{prefix}', and the model around that part "
            'cannot translate them: it held the part before a ViT was put into it. Put the ViT in '
            'first, or load with mae_plugin.checkpoint.load_pretrained(model, FILE)'
        )
    state, report, used = adapt(state_dict, module, 'the state dict', location=prefix)
    # A wrapper such as 'model' goes with what was in it.
    gone = {*used, *NO_WEIGHTS, *(key.split('.')[0] for key in used)}
    for key in gone.intersection(state_dict):
        del state_dict[key]
    state_dict.update({prefix + name: tensor for name, tensor in state.items()})
    log_report(report, module)


def _fits(trunk: nn.Module, state_dict: Mapping[str, Any], prefix: str) -> bool:
    """Whether the state dict has the trunk's own names and shapes, and no others."""
    from .fit import OPTIONAL

    patch = dict(trunk.named_parameters()).get('patch_embed.proj.weight')
    if patch is None or patch.dim() != 4:
        return True  # FSDP has it in shards; where it gathers them, the next hook down sees all.
    own = trunk.state_dict()
    given = {
        key.removeprefix(prefix): value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }
    fits = all(
        isinstance(given[name], Tensor) and given[name].shape == tensor.shape
        if name in given
        else OPTIONAL.match(name)
        for name, tensor in own.items()
    )
    return fits and set(given) <= set(own)
