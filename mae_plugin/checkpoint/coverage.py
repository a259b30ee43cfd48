"""Whether a file has all that a model computes with: a random part is nothing to score."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from mae_plugin.errors import UserError

from .fit import SCALED
from .keys import plain_names
from .report import LoadReport, shorten

# What no prediction uses: segmentors' auxiliary heads, counters of BatchNorms.
UNUSED = re.compile(r'^auxiliary_head\.|\.num_batches_tracked$')


def require_whole(report: LoadReport, tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse to evaluate a model of which a part was not in the file, or was another one.

    Args:
        report: Of loading the file into the model.
        tensors: The model's state dict.
        source: The file.

    Raises:
        UserError: Names the part and the way out.
    """
    missing = [name for name in report.initial if not is_unneeded(name, tensors[name])]
    unfit = [name for name in missing if name in report.unfit]
    if unfit:
        shapes = '; '.join(f'{name} is {report.unfit[name]}' for name in unfit[:4])
        raise UserError(
            f'{source} has parts of other shapes than the model ({shapes}), which would be scored '
            'with random weights there: give the config that the file was trained with'
        )
    _refuse_missing(missing, source)
    if report.misfits:
        raise UserError(f'{source}: {"; ".join(report.misfits)}: its scores would be of no worth')


def require_names(tensors: Mapping[str, Tensor], state: Iterable[str], source: str) -> None:
    """:func:`require_whole` by names alone, for models that no ViT of ours is in, or in shards.

    Args:
        tensors: The model's state dict.
        state: Names in the file's.
        source: The file.

    Raises:
        UserError: Names the part and the way out.
    """
    given = plain_names(state)
    names = plain_names(tensors)
    missing = [name for name in names if name not in given]
    missing = [name for name in missing if not is_unneeded(name, tensors[names[name]])]
    _refuse_missing(missing, source)


def _refuse_missing(missing: list[str], source: str) -> None:
    if missing:
        raise UserError(
            f'{source} does not hold {shorten(missing)} of the model, and random weights are '
            'nothing to evaluate: give a checkpoint of the whole model (work_dirs/RUN/*.pth), or '
            f'train one from this file: python tools/train.py CONFIG --pretrained {source}'
        )


def is_unneeded(name: str, tensor: Tensor) -> bool:
    """Whether a model computes with a tensor what it computes without it."""
    return bool(UNUSED.search(name)) or is_neutral(name, tensor)


def is_neutral(name: str, tensor: Tensor) -> bool:
    """Whether an encoder computes with a tensor what it computes without it."""
    if name.endswith(tuple(SCALED)):
        return bool((tensor == 1).all())
    return name.endswith(('rel_pos_h', 'rel_pos_w')) and not tensor.any()
