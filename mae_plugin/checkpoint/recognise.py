"""From a file's content to an encoder with our names: find the encoder, name the format."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from mae_plugin.errors import UserError
from mae_plugin.geometry import Grid

from .facts import Facts, find_facts
from .fuse import fuse, is_gated, name_mlps, whole_name
from .keys import HARMLESS, INSIDE_ENCODER, SECOND_COPY, flatten, plain_names, whole
from .layouts import FORMATS, NOT_COMPUTED, Format
from .stored_encoder import stored_grid

_INDEX = re.compile(r'\.(\d+)\.')
_BIAS_TABLE = 'relative_position_bias_table'


class Recognised(NamedTuple):
    """A checkpoint with our names.

    Attributes:
        format: The layout that its keys follow.
        root: What precedes the encoder's keys in the file, without what wraps modules.
        encoder: The encoder's tensors under our names (``blocks.0.attn.qkv.weight``).
        rest: Everything else, under our names where a table knows them (an MAE's ``decoder.*``
            and ``head.pred``, a classifier's ``neck.fc_norm`` and ``head.fc``), and under the
            file's own otherwise.
        encoder_keys: The file's keys of ``encoder`` and the names that they got there.
        rest_keys: The file's keys of ``rest`` and the names that they got there.
        dropped: The file's keys that change no output and were left out.
        lost: The file's keys that were left out on demand, though they change the output.
        grid: Grid of the position embeddings, if the file says it, as this project's runs do and
            positions with four dimensions.
        facts: What no tensor shows, such as the attention heads, as far as it is known.
    """

    format: Format
    root: str
    encoder: dict[str, Tensor]
    rest: dict[str, Tensor]
    encoder_keys: dict[str, str]
    rest_keys: dict[str, str]
    dropped: list[str]
    lost: list[str]
    grid: Grid | None = None
    facts: Facts = Facts()


def recognise(
    content: Mapping[str, Any],
    prefix: str | None = None,
    prefer: str | None = None,
    drop_position_bias: bool = False,
    num_heads: int | None = None,
) -> Recognised:
    """Recognise a checkpoint from its keys and give the encoder our names.

    Args:
        content: What :func:`mae_plugin.checkpoint.safe_load.safe_load` returned, or a state dict.
        prefix: Read the encoder under this prefix alone (``'backbone.'``); anywhere when None.
        prefer: Of several encoders take the one under this prefix, if there is one.
        drop_position_bias: Leave out relative position biases that a plain ViT cannot represent.
        num_heads: Its attention heads, if the user says them.

    Raises:
        UserError: If there is no ViT, none under ``prefix``, several to choose from, or one of
            another architecture; if what the file says of it contradicts itself.
    """
    flat = flatten(content)
    keys = plain_names(flat)
    flat = {name: flat[key] for name, key in keys.items()}
    _refuse_by_name(flat)
    root, patch = _find_encoder(flat, prefix, prefer)
    found = next(
        form
        for form in FORMATS
        if form.patch == patch
        and all(_any_key(mark, flat) for mark in form.marks)
        and not (form.absent and _any_key(form.absent, flat))
    )
    translated = _translate(flat, found, root, drop_position_bias)
    return translated._replace(
        encoder_keys={keys[name]: ours for name, ours in translated.encoder_keys.items()},
        rest_keys={keys[name]: ours for name, ours in translated.rest_keys.items()},
        dropped=[keys[name] for name in translated.dropped],
        lost=[keys[name] for name in translated.lost],
        grid=translated.grid or stored_grid(content, translated.encoder),
        facts=find_facts(content, translated.encoder, translated.rest, found, root, num_heads),
    )


def _any_key(pattern: str, keys: Iterable[str]) -> bool:
    return any(re.search(pattern, key) for key in keys)


def _refuse_by_name(keys: Iterable[str]) -> None:
    for family in NOT_COMPUTED:
        if all(_any_key(mark, keys) for mark in family.marks):
            raise UserError(
                f'it is of the family {family.name}, which this trunk does not compute: it lacks '
                f'{family.lacks}. What loads: docs/checkpoints.md'
            )


def _find_encoder(
    flat: dict[str, Tensor], prefix: str | None, prefer: str | None
) -> tuple[str, str]:
    """Prefix of the encoder's keys, and the key of its patch projection after it."""
    patches = list(dict.fromkeys(form.patch for form in FORMATS))
    roots = {
        key.removesuffix(patch): patch
        for key in flat
        for patch in patches
        if key == patch or key.endswith('.' + patch)
    }
    if not roots:
        raise UserError(
            f'no ViT encoder in it: none of its {len(flat)} tensors is a patch projection '
            f'({", ".join(patches)}). Its keys: {whole(flat, 8)}'
        )
    if prefer and not prefix:
        own = [root for root in roots if f'.{root}'.endswith(f'.{prefer}')]
        if len(own) == 1:
            return own[0], roots[own[0]]
    if prefix:
        wanted = prefix.rstrip('.') + '.'
        matching = {r: p for r, p in roots.items() if r == wanted or r.endswith('.' + wanted)}
        if not matching:
            raise UserError(
                f"no ViT encoder under prefix='{prefix}'; there is one under: "
                f'{", ".join(repr(root) for root in roots)}. Leave `prefix` out to find it'
            )
        roots = matching
    if len(roots) > 1:
        first = {r: p for r, p in roots.items() if not re.search(SECOND_COPY, r)}
        roots = first or roots
    if len(roots) > 1:
        raise UserError(
            f'several ViT encoders: choose one with prefix=, of '
            f'{", ".join(repr(root) for root in roots)}'
        )
    return next(iter(roots.items()))


def lookup(key: str, table: dict[str, str]) -> str | None:
    """Our name of ``key``, or None if the table does not know it."""
    index = _INDEX.search(key)
    name = key if index is None else f'{key[: index.start()]}.{{}}.{key[index.end() :]}'
    for known in (key, name):
        ours = table.get(known)
        stem, _, leaf = known.rpartition('.')
        if ours is None and leaf in ('weight', 'bias') and stem in table:
            ours = f'{table[stem]}.{leaf}'
        if ours is not None:
            return ours if index is None else ours.replace('{}', index.group(1))
    return None


def _translate(
    flat: dict[str, Tensor], form: Format, root: str, drop_position_bias: bool
) -> Recognised:
    encoder_keys: dict[str, str] = {}
    rest_keys: dict[str, str] = {}
    dropped: list[str] = []
    lost: list[str] = []
    foreign: list[str] = []
    base = root.removesuffix(form.encoder_prefix)
    for key, tensor in flat.items():
        inside = key.removeprefix(root) if key.startswith(root) else ''
        beside = key.removeprefix(base) if key.startswith(base) else ''
        ours = lookup(inside, form.encoder) or lookup(beside, form.beside)
        if ours is not None:
            is_beside = ours.startswith(('decoder.', 'head.', 'neck.'))
            (rest_keys if is_beside else encoder_keys)[key] = ours
        elif re.search(HARMLESS, inside):
            dropped.append(key)
        elif inside.endswith(_BIAS_TABLE):
            if tensor.any() and not drop_position_bias:
                raise _position_bias(key, form)
            (lost if tensor.any() else dropped).append(key)
        elif re.search(INSIDE_ENCODER, inside):
            foreign.append(key)
        else:
            rest_keys[key] = beside or key
    if foreign:
        raise UserError(
            f'its encoder ({form.name}) has parts that a plain ViT lacks, without which it would '
            f'compute something else: {whole(foreign)}'
        )
    tensors = {ours: flat[key] for key, ours in encoder_keys.items()}
    gated = is_gated(tensors)
    if gated and not form.gated and 'blocks.0.mlp.w3.weight' not in tensors:
        raise UserError(
            f'its encoder ({form.name}) has gated MLPs, and neither its layout nor its names tell '
            'what gates them'
        )
    names = name_mlps(tensors, gated)
    encoder_keys = {key: names.get(ours, ours) for key, ours in encoder_keys.items()}
    encoder = fuse({names.get(ours, ours): tensor for ours, tensor in tensors.items()})
    # Only what a table knows: a cross-attention decoder's `attn.q` is whole.
    unknown = [key for key, ours in rest_keys.items() if ours in (key, key.removeprefix(base))]
    rest = {rest_keys[key]: flat[key] for key in unknown}
    rest |= fuse({ours: flat[key] for key, ours in rest_keys.items() if key not in unknown})
    if 'pos_embed' not in encoder and any(_BIAS_TABLE in key for key in [*dropped, *lost]):
        # A BEiT with relative positions alone: no absolute ones is what it had.
        patch = encoder['patch_embed.proj.weight']
        encoder['pos_embed'] = patch.new_zeros(1, 2, patch.shape[0])
    grid = _flatten_positions(encoder)
    for keys in (encoder_keys, rest_keys):
        fused = {key: whole_name(ours) for key, ours in keys.items() if key not in unknown}
        keys.update(fused)
    return Recognised(form, root, encoder, rest, encoder_keys, rest_keys, dropped, lost, grid)


def _flatten_positions(encoder: dict[str, Tensor]) -> Grid | None:
    """Bring SAM's positions (1, h, w, D) to (1, h·w, D), and say their grid."""
    positions = encoder.get('pos_embed')
    if positions is None or positions.dim() != 4:
        return None
    encoder['pos_embed'] = positions.flatten(1, 2)
    return positions.shape[1], positions.shape[2]


def _position_bias(key: str, form: Format) -> UserError:
    return UserError(
        f'{key} is not zero: this {form.name} adds a learned bias for each pair of positions to '
        'its attention, which a plain ViT cannot represent (decomposed relative positions '
        "neither). Use the host's own BEiT or MAE backbone for this file, or, to fine-tune "
        "without that bias, init_cfg=dict(type='Pretrained', checkpoint=FILE, "
        'drop_relative_position_bias=True)'
    )
