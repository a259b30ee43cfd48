"""Load any ViT or MAE file into an encoder, a host's model or a whole MAE, loudly."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae_plugin.checkpoint.addresses import local_copy
from mae_plugin.checkpoint.safe_load import safe_load
from mae_plugin.errors import UserError
from mae_plugin.logs import log

from .beside import fit_beside, other_pooling
from .coverage import is_neutral
from .facts import compare
from .fit import SCALED, adapt_encoder, require_sizes
from .recognise import Recognised, recognise
from .report import LoadReport
from .spec import ModelSpec, TrunkSpec, model_spec


def load_pretrained(
    module: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    trust: bool = False,
    drop_relative_position_bias: bool = False,
    num_heads: int | None = None,
) -> LoadReport:
    """Load a checkpoint of any known layout, and log what happened to each key.

    Args:
        module: A ``ViT`` (``ViTBackbone``), or a model that holds one: a whole ``MAE`` (its
            decoder is loaded too, if the file has one), a classifier, detector or segmentor.
        checkpoint: File (.pth, .safetensors, .pkl) or an address that mmengine knows.
        prefix: What precedes the encoder's keys in the file; found when None.
        trust: Unpickle the file, code included. Only for files that you wrote yourself.
        drop_relative_position_bias: Leave out a BEiT's (or mmseg MAE's) learned bias for each
            pair of positions, which no plain ViT has. Features change: a start for fine-tuning.
        num_heads: Attention heads of the file's encoder, where nothing in the file tells them.

    Returns:
        The report, which has been logged.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no whole checkpoint or holds code; if it holds no ViT that
            covers the encoder; if ``module`` holds no ViT.
    """
    model = model_spec(module)
    if not model.trunks:
        raise UserError(f'{type(module).__name__} holds no mae_plugin ViT to load into')
    content = read_checkpoint(checkpoint, trust)
    state, report, _ = adapt(
        content,
        model,
        checkpoint,
        prefix,
        drop_position_bias=drop_relative_position_bias,
        num_heads=num_heads,
    )
    module.load_state_dict(state, strict=False)
    log_report(report, model)
    return report


def load_init_cfg(module: nn.Module, init_cfg: Mapping[str, Any]) -> LoadReport:
    """Load what ``init_cfg=dict(type='Pretrained', checkpoint=FILE)`` names.

    Beside mmengine's keys, it takes those of :func:`load_pretrained`.

    Raises:
        ValueError: If it has another key, or no ``checkpoint``; as for :func:`load_pretrained`.
    """
    given = {key: init_cfg[key] for key in init_cfg if key not in ('type', 'map_location')}
    options = ('prefix', 'trust', 'drop_relative_position_bias', 'num_heads')
    unknown = set(given) - {'checkpoint', *options}
    if unknown or 'checkpoint' not in given:
        raise UserError(
            f'init_cfg={dict(init_cfg)}: needs checkpoint, and takes {", ".join(options)}; '
            f'unknown {sorted(unknown)}'
        )
    return load_pretrained(module, **given)


def read_checkpoint(checkpoint: str, trust: bool = False) -> dict[str, Any]:
    """Content of a file, or of an address that mmengine knows, read safely."""
    with local_copy(checkpoint) as path:
        return safe_load(path, trust=trust)


def check_facts(content: Mapping[str, Any], model: ModelSpec, source: str) -> None:
    """Hold what a file says of its encoder's heads and the like against a model, as :func:`adapt`.

    Raises:
        UserError: If they differ.
    """
    for name, trunk in model.trunks.items():
        try:
            facts = recognise(content, None, name).facts
        except ValueError:
            continue  # whoever loads it refuses it
        try:
            compare(facts, trunk)
        except ValueError as error:
            raise UserError(f'cannot load {source} into {trunk.name}: {error}') from None


def adapt(
    content: Mapping[str, Any],
    model: ModelSpec,
    source: str,
    prefix: str | None = None,
    location: str = '',
    drop_position_bias: bool = False,
    num_heads: int | None = None,
) -> tuple[dict[str, Tensor], LoadReport, list[str]]:
    """Translate a checkpoint to a model's names and shapes.

    Args:
        content: Tensors, nested or not, under the file's keys.
        model: Holds one ViT or more; all are loaded from the same encoder unless the file has
            one for each under its own name.
        source: The file's name, for messages.
        prefix: What precedes the encoder's keys in the file; found when None.
        location: What precedes the model's own names in ``content``, if it is a state dict of
            the model around it.
        drop_position_bias: Leave out biases that a plain ViT cannot represent.
        num_heads: Attention heads of the file's encoder, if the user says them.

    Returns:
        Tensors to load under the model's names, the report, and the keys of ``content`` that
        they were made from.

    Raises:
        ValueError: If an encoder is not covered.
    """
    own = model.tensors
    state: dict[str, Tensor] = {}
    changed: dict[str, str] = {}
    read: dict[str, Recognised] = {}
    told: list[str] = []
    doubts: list[str] = []
    trunks = model.trunks
    for name, trunk in trunks.items():
        try:
            found = recognise(content, prefix, location + name, drop_position_bias, num_heads)
            require_sizes(found.encoder, trunk)
            said, doubted = compare(found.facts, trunk)
            fitted, how = adapt_encoder(found.encoder, trunk, found.grid, found.format.rotary_base)
        except ValueError as error:
            raise UserError(f'cannot load {source} into {trunk.name}: {error}') from None
        told += said
        doubts += doubted
        state.update({name + key: tensor for key, tensor in fitted.items()})
        changed.update({name + key: text for key, text in how.items()})
        read[found.root] = found

    found = next(iter(read.values()))
    beside = {key.removeprefix(location): tensor for key, tensor in found.rest.items()}
    beside = {key: tensor for key, tensor in beside.items() if key not in state}
    fitted, unfit = fit_beside(beside, model, changed, found.grid)
    state.update(fitted)
    changed = {key: how for key, how in changed.items() if key in state}
    used = [key for each in read.values() for key in _used(each, state, changed, trunks, location)]
    keys = [*found.encoder_keys, *found.rest_keys, *found.dropped]
    report = LoadReport(
        source,
        found.format.name,
        loaded=[name for name in state if name not in changed],
        changed=changed,
        initial=[name for name in own if name not in state],
        ignored=[key.removeprefix(_wrapper(found)) for key in keys if key not in used],
        lost=[key.removeprefix(_wrapper(found)) for key in found.lost],
        told=list(dict.fromkeys(told)),
        doubts=list(dict.fromkeys(doubts)),
        misfits=other_pooling(found, model, state),
        unfit=unfit,
    )
    return state, report, [*used, *found.dropped, *found.lost]


def _used(
    found: Recognised,
    state: Mapping[str, Tensor],
    changed: Mapping[str, str],
    trunks: Mapping[str, TrunkSpec],
    location: str,
) -> list[str]:
    """The file's keys that went into ``state``, layer scales that were folded included."""
    folded = any('layer scale' in how for how in changed.values())
    encoder = [
        key
        for key, ours in found.encoder_keys.items()
        if any(trunk + ours in state for trunk in trunks)
        or (folded and ours.endswith(tuple(SCALED)))
    ]
    rest = found.rest_keys.items()
    return encoder + [key for key, ours in rest if ours.removeprefix(location) in state]


def _wrapper(found: Recognised) -> str:
    """``'model.'`` or ``'state_dict.'``, which say nothing in a report."""
    return next((name for name in ('model.', 'state_dict.') if found.root.startswith(name)), '')


def log_report(report: LoadReport, model: ModelSpec) -> None:
    """Log a report, as a warning if an encoder lost a part, or its initial values change it."""
    trunks = tuple(model.trunks)
    is_partial = any(
        name.startswith(trunks) and not is_neutral(name, model.tensors[name])
        for name in report.initial
    )
    # A MAE that goes on, but not with the file's decoder: of another size or kind.
    is_partial |= 'decoder.mask_token' in report.initial and any(
        'decoder.' in name for name in report.ignored
    )
    is_doubtful = report.lost or report.doubts or report.misfits or is_partial
    level = logging.WARNING if is_doubtful else logging.INFO
    log(str(report), level)
