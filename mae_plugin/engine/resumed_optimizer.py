"""Settings of this run's config in the optimizer and schedulers that a checkpoint restores.

mmengine and torch restore a parameter group with all its settings, and a scheduler with all its
attributes, so that what the config says is lost. Here the stored state gets what has changed,
before it is restored; what has not changed stays as it is, to the bit.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mae_plugin.errors import UserError

NEW_RUN = 'or start a new run from its weights with --pretrained CHECKPOINT'


def adopt_settings(
    stored: dict[str, Any],
    optimizer: Optimizer,
    changed: set[str],
    scheduled: set[str],
    old_groups: Sequence[Sequence[nn.Parameter]] | None = None,
) -> bool:
    """Put an optimizer's own settings into the state that is about to be restored into it.

    The value of a scheduled setting (``lr``) is scaled by what its initial value was changed by:
    the schedule goes on at its point.

    Args:
        stored: ``state_dict`` of the checkpoint's optimizer, changed in place.
        optimizer: This run's, as its config made it.
        changed: Settings of the optimizer that the config has changed, such as ``betas``.
        scheduled: Those that a scheduler changes.
        old_groups: The parameters in the stored groups, where they are grouped otherwise now.

    Returns:
        Whether the groups or the initial value of a scheduled setting differ.

    Raises:
        UserError: The groups differ, and nobody knows which parameters the stored ones hold.
    """
    own = optimizer.param_groups
    sizes = [
        [len(group['params']) for group in groups] for groups in (stored['param_groups'], own)
    ]
    if sizes[0] != sizes[1] or old_groups is not None:
        if old_groups is None or [len(group) for group in old_groups] != sizes[0]:
            raise UserError(
                f"--resume: the optimizer's parameter groups have {sizes[1]} tensors in this run "
                f'and {sizes[0]} in the checkpoint: keep model.backbone.frozen_stages and '
                f'optim_wrapper.paramwise_cfg as they were, {NEW_RUN}'
            )
        _regroup(stored, own, scheduled, old_groups)
        return True
    moved = False
    for before, now in zip(stored['param_groups'], own):
        for key in changed - scheduled:
            if key in now:
                before[key] = now[key]
        for key in scheduled:
            moved |= _rescale(before, now, key)
    return moved


def _rescale(before: dict[str, Any], now: dict[str, Any], key: str) -> bool:
    first: Any = before.get(f'initial_{key}')
    wanted: Any = now.get(f'initial_{key}')
    # Not by what two ways of computing the same value may differ.
    if not (_is_number(first) and _is_number(wanted)) or math.isclose(first, wanted):
        return False
    before[key] = before[key] * wanted / first if first else now[key]
    before[f'initial_{key}'] = wanted
    return True


def _regroup(
    stored: dict[str, Any],
    own: list[dict[str, Any]],
    scheduled: set[str],
    old_groups: Sequence[Sequence[nn.Parameter]],
) -> None:
    """Sort the state of each parameter into its group of this run."""
    before = stored['param_groups']
    old = [
        (id(parameter), index)
        for group, parameters in zip(before, old_groups)
        for index, parameter in zip(group['params'], parameters)
    ]
    old_index = dict(old)
    # At the stored point of the schedule all groups have the same share of their initial value.
    share = {
        key: before[0][key] / before[0][f'initial_{key}']
        for key in scheduled
        if before[0].get(f'initial_{key}')
    }
    state: dict[int, Any] = {}
    groups: list[dict[str, Any]] = []
    count = 0
    for group in own:
        indices = range(count, count + len(group['params']))
        count = indices.stop
        for index, parameter in zip(indices, group['params']):
            if id(parameter) not in old_index:
                raise UserError(f'--resume: other parameters are trained than before, {NEW_RUN}')
            if old_index[id(parameter)] in stored['state']:
                state[index] = stored['state'][old_index[id(parameter)]]
        groups.append({**group, 'params': list(indices)})
        for key, value in share.items():
            groups[-1][key] = group[f'initial_{key}'] * value
    stored.update(state=state, param_groups=groups)


def adopt_schedule(stored: dict[str, Any], scheduler: Any, changed: set[str]) -> None:
    """Put a scheduler's own attributes into the state that is about to be restored into it.

    Args:
        stored: The state, changed in place.
        scheduler: This run's, as its config made it.
        changed: Arguments that the config has changed, such as ``gamma``.

    Raises:
        UserError: One of them cannot change in the middle of a schedule.
    """
    # By these the scheduler is another one. What `begin` and `end` come to is compared by whoever
    # restores it.
    # Another type is told before what follows from it.
    for key in sorted(changed - {'begin', 'end'}, key=lambda key: (key != 'type', key)):
        own, before = getattr(scheduler, key, None), stored.get(key)
        if key in ('type', 'param_name', 'by_epoch', 'T_max') or own is None or before is None:
            if own == before and own is not None:
                continue
            raise UserError(
                f'--resume: `{key}` of the {type(scheduler).__name__} in param_scheduler has '
                f'changed since the checkpoint, and cannot inside a schedule: keep it, {NEW_RUN}'
            )
        stored[key] = own


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
