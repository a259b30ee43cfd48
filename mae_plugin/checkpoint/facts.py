"""What an encoder computes beside its tensors, as far as it is known, and from where.

Another number of heads gives the same shapes and other features. So heads are taken from what the
file says, from the family where all its models agree, or from a convention, which is reported as
assumed; where nothing tells, that is said.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from mae_plugin.errors import UserError

from .claims import (
    Claims,
    claims_of_config,
    claims_of_hub,
    claims_of_moco_v3,
    claims_of_name,
)
from .folders import MODEL_CONFIG
from .layouts import Format
from .sizes import sizes
from .spec import TrunkSpec
from .stored_config import stored_config

# What our blocks compute.
ACTIVATION = 'gelu'


class Fact(NamedTuple):
    """A value, who says so, and whether that is a convention of its family only."""

    value: Any
    source: str
    is_assumed: bool = False

    def __str__(self) -> str:
        return f'{self.value} ({"assumed: " if self.is_assumed else ""}{self.source})'


class Facts(NamedTuple):
    """What no tensor shows; None where nothing tells.

    Attributes:
        num_heads: Attention heads.
        activation: Of the MLPs, by its name: 'gelu' is the exact one.
        norm_eps: Of the LayerNorms.
        windows: Side of each block's attention windows in patches, 0 for global attention.
        pool: What its classification head was trained on: 'cls', 'avg'.
    """

    num_heads: Fact | None = None
    activation: Fact | None = None
    norm_eps: Fact | None = None
    windows: Fact | None = None
    pool: Fact | None = None


def find_facts(
    content: Mapping[str, Any],
    encoder: Mapping[str, Tensor],
    rest: Mapping[str, Tensor],
    form: Format,
    root: str,
    num_heads: int | None = None,
) -> Facts:
    """Collect what is said of an encoder.

    Args:
        content: The file.
        encoder: The encoder's tensors under our names.
        rest: The tensors beside it.
        form: The file's layout.
        root: What precedes the encoder's keys in the file.
        num_heads: What the user says.

    Raises:
        UserError: If two disagree; if one says that the encoder computes what no ViT does.
    """
    size = sizes(encoder)
    facts = Facts()
    for source, claims in _said(content, encoder, form, root, num_heads):
        if claims.get('otherwise'):
            raise UserError(
                f'its encoder ({form.name}) has {claims["otherwise"]}, says {source}, which its '
                'tensors do not show and a plain ViT does not compute'
            )
        for name in Facts._fields:
            known, value = getattr(facts, name), claims.get(name)
            if known is not None and value not in (None, known.value):
                raise UserError(
                    f'{name} of its encoder is {known.value}, says {known.source}, and {value}, '
                    f'says {source}: one of them describes another model'
                )
            if known is None and value is not None:
                facts = facts._replace(**{name: Fact(value, source)})
    heads = form.heads.get((size.width, size.depth))
    if facts.num_heads is None and heads is not None:
        source = f'as {"all" if form.heads_are_sure else "the known"} ViTs of this size have'
        facts = facts._replace(num_heads=Fact(heads, source, not form.heads_are_sure))
    if facts.norm_eps is None and form.norm_eps is not None:
        facts = facts._replace(norm_eps=Fact(form.norm_eps, 'as all of this family have'))
    if facts.pool is None:
        facts = facts._replace(pool=_usual_pool(encoder, rest, form))
    return facts


def _usual_pool(
    encoder: Mapping[str, Tensor], rest: Mapping[str, Tensor], form: Format
) -> Fact | None:
    """Pooling that the norms of a peer's classifier speak of; ours may pool in any way."""
    if 'head.fc.weight' not in rest or not form.beside:
        return None
    if 'neck.fc_norm.weight' in rest:
        return Fact('avg', 'as it has fc_norm', is_assumed=True)
    if 'cls_token' not in encoder:
        return Fact('avg', 'as it has no class token', is_assumed=True)
    return Fact('cls', 'as it has no fc_norm', is_assumed=True)


def _said(
    content: Mapping[str, Any],
    encoder: Mapping[str, Tensor],
    form: Format,
    root: str,
    num_heads: int | None,
) -> list[tuple[str, Claims]]:
    """Who says what, the surest first."""
    size = sizes(encoder)
    said: list[tuple[str, Claims]] = [('the argument num_heads', dict(num_heads=num_heads))]
    relative = encoder.get('blocks.0.attn.rel_pos_h')
    if relative is not None:
        heads = size.width // relative.shape[1]
        said.append(('the width of its relative positions', dict(num_heads=heads)))
    periods = encoder.get('positions.periods')
    if periods is not None:
        heads = size.width // (4 * periods.numel())
        said.append(('the number of its rotary periods', dict(num_heads=heads)))
    config = stored_config(content)
    if root.endswith('backbone.') and isinstance(config.get('model'), Mapping):
        claims = claims_of_config(config['model'], size, config.get('default_scope'))
        said.append(('the config stored in it', claims))
    hub = content.get(MODEL_CONFIG)
    if isinstance(hub, Mapping):
        said.append((f'the {MODEL_CONFIG} beside it', claims_of_hub(hub, size)))
    arch = content.get('arch')
    if isinstance(arch, str):
        # Of the scripts that write this, MoCo v3's have bare names: vit_small.
        read = claims_of_name if '_patch' in arch else claims_of_moco_v3
        said.append((f"its arch='{arch}'", read(arch, size)))
    arguments = content.get('args')
    for name in ('model', 'arch'):
        value = getattr(arguments, name, None)
        value = arguments.get(name) if isinstance(arguments, Mapping) else value
        if isinstance(value, str):
            said.append((f"its args.{name}='{value}'", claims_of_name(value, size)))
    return said


def compare(facts: Facts, trunk: TrunkSpec) -> tuple[list[str], list[str]]:
    """Hold what is known of a file's encoder against a model.

    Returns:
        What is to be told, and what is to be told as a warning: the model may compute something
        else than the encoder did.

    Raises:
        UserError: If it would: other heads, another activation.
    """
    told: list[str] = []
    doubts: list[str] = []
    heads, own = facts.num_heads, trunk.num_heads
    way_out = 'say it with num_heads=N (load_pretrained and init_cfg take it)'
    if heads is None:
        doubts.append(
            f'nothing tells how many attention heads its encoder has (the model has {own}), and '
            f'a wrong number gives wrong features: if you know it, {way_out}'
        )
    elif heads.value == own:
        told.append(f'num_heads {heads}')
    elif heads.is_assumed:
        doubts.append(
            f'its encoder probably has num_heads={heads.value} ({heads.source}), the model has '
            f'{own}, which would compute something else; if the file has {own} too, {way_out}'
        )
    else:
        raise UserError(
            f'it was trained with num_heads={heads.value} (says {heads.source}), the model has '
            f'num_heads={own}, so its attention would be computed differently: build the model '
            f'with num_heads={heads.value} (in `arch`)'
        )
    if facts.activation is not None and facts.activation.value != ACTIVATION:
        if facts.activation.value != 'gelu_tanh':
            raise UserError(
                f'its MLPs compute {facts.activation.value} (says {facts.activation.source}), the '
                f'model {ACTIVATION}, so it would compute something else'
            )
        told.append(f'its GELU is the approximation by tanh ({facts.activation.source})')
    eps = facts.norm_eps
    if eps is not None and eps.value != trunk.norm_eps:
        told.append(f"its LayerNorms' eps is {eps}, the model's {trunk.norm_eps}")
    windows = facts.windows
    if windows is not None and windows.value != trunk.windows and any(windows.value):
        doubts.append(
            f'its blocks attend in windows of {_sides(windows.value)} patches ({windows.source}), '
            f"the model's of {_sides(trunk.windows)}: set window_size and global_attn_indexes"
        )
    return told, doubts


def _sides(windows: tuple[int, ...]) -> str:
    """``14 14 - 14 14 -``: a dash for global attention."""
    return ' '.join(str(side or '-') for side in windows) or '-'
