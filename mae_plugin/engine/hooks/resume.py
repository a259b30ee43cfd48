"""What a resumed run does with a config that has changed since its checkpoint."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from mmengine.runner import Runner
from torch import nn

from mae_plugin.checkpoint.stored_config import literal_config
from mae_plugin.compat import is_resuming
from mae_plugin.engine.config_changes import Change, find_changes
from mae_plugin.engine.optim import ViTOptimWrapperConstructor
from mae_plugin.engine.resumed_optimizer import NEW_RUN, adopt_schedule, adopt_settings
from mae_plugin.engine.stable_decay import StableDecayLR, prolong
from mae_plugin.errors import UserError
from mae_plugin.logs import log
from mae_plugin.registry import HOOKS, builds, find_type

_OPTIMIZER = ('optim_wrapper.optimizer', 'optim_wrapper.paramwise_cfg')
# The gradient scaler goes on with the scale that it has found; weights and dropout with the seed,
# which data loaders have taken from the config by now (build_runner gives them the checkpoint's).
_STORED = ('optim_wrapper.loss_scale', 'randomness.seed')


@HOOKS.register_module()
class ResumeHook(Hook):
    """Lets what has changed in the config take effect, refuses what cannot, and says which.

    mmengine restores the checkpoint's learning rates, weight decay, betas and schedule whatever
    the config says, while its log and the next checkpoint show the config's. Here changed values
    go on from the resumed iteration: a learning rate at its point of the schedule, in proportion.
    Refused are another model, optimizer, length or kind of schedule, which the stored state does
    not fit; only ``StableDecayLR`` may get another length. What is changed without effect is told,
    such as the weights that ``init_cfg`` names.

    For one optimizer; several, and DeepSpeed, keep the checkpoint's settings, which is told.
    """

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Change what is about to be restored.

        Raises:
            UserError: Something has changed that the checkpoint's state does not fit.
        """
        if not is_resuming(runner):
            return
        stored = _stored_config(checkpoint)
        changes = find_changes(stored, runner.cfg.to_dict()) if stored else []
        length = len(runner.train_dataloader)
        hub = checkpoint.get('message_hub') or {}
        if (hub.get('runtime_info') or {}).get('epoch_length', length) != length:
            # ResumableEpochLoop refuses other data and batches.
            _say(f'changed since the checkpoint: {_list(changes)}')
            return
        _check_model(runner, checkpoint, changes)
        _check_schedule(runner, checkpoint, length)
        idle = [change for change in changes if _has_no_effect(change)]
        if stored and not _adopt(runner, checkpoint, stored, changes):
            idle += [c for c in changes if c.is_below(*_OPTIMIZER, 'param_scheduler')]
        _tell([change for change in changes if change not in idle], idle)


def _stored_config(checkpoint: dict) -> dict[str, Any]:
    text = (checkpoint.get('meta') or {}).get('cfg')
    try:
        return literal_config(text) if isinstance(text, str) else {}
    except ValueError:
        _say('the checkpoint stores no config that can be compared with that of this run')
        return {}


def _check_model(runner: Runner, checkpoint: dict, changes: list[Change]) -> None:
    """Refuse parameters that the checkpoint does not have: mmengine leaves them at random."""
    stored = checkpoint.get('state_dict')
    if not isinstance(runner, Runner) or stored is None:
        return  # strategies have their own shapes, and compare them
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    kept = model.state_dict().keys()  # adapters (LoRA) leave out what they are put on
    wrong = [
        f'{name} {tuple(parameter.shape)}'
        for name, parameter in model.named_parameters()
        if name in kept and (name not in stored or stored[name].shape != parameter.shape)
    ]
    if not wrong:
        return
    more = f' and {len(wrong) - 1} more tensors' if len(wrong) > 1 else ''
    changed = _list(change for change in changes if change.is_below('model'))
    raise UserError(
        f'--resume: this run has another model than the checkpoint, which lacks {wrong[0]}{more}'
        f'{f"; changed since: {changed}" * bool(changed)}. Keep `model` as it was, {NEW_RUN}'
    )


def _check_schedule(runner: Runner, checkpoint: dict, length: int) -> None:
    """Refuse schedulers that begin or end elsewhere than the stored ones, unless that is past."""
    done = dict(epoch=0, iter=0) | (checkpoint.get('meta') or {})
    for own, stored in _pairs(runner.param_schedulers, checkpoint.get('param_schedulers')):
        if isinstance(own, StableDecayLR) and 'decay' in stored:
            prolong(own, stored, 1 if own.by_epoch else length)
        for name in ('begin', 'end'):
            now, then = getattr(own, name), stored.get(name)
            if then not in (None, now) and done['epoch' if own.by_epoch else 'iter'] < max(
                now, then
            ):
                unit = 0 if own.by_epoch else length
                raise UserError(
                    f'--resume: {type(own).__name__} of the learning rate {name}s '
                    f'{_place(now, unit)} in this run and {_place(then, unit)} in the checkpoint, '
                    'whose schedule would be restored: keep train_cfg.max_epochs (max_iters), '
                    'param_scheduler and batch size x processes as they were, '
                    f'{NEW_RUN}'
                )


def _adopt(runner: Runner, checkpoint: dict, stored: dict, changes: list[Change]) -> bool:
    """Put changed settings of optimizer and schedule into the checkpoint.

    Returns:
        False where this run's optimizer is none whose settings can change.
    """
    wrapper: Any = runner.optim_wrapper
    state: dict[str, Any] = checkpoint.get('optimizer') or {}
    if not isinstance(wrapper, OptimWrapper) or 'param_groups' not in state:
        return False
    schedulers: Any = runner.param_schedulers or []
    states = checkpoint.get('param_schedulers') or []
    if any(c.path == 'optim_wrapper.optimizer.type' for c in changes):
        kinds = [c['optim_wrapper']['optimizer']['type'] for c in (stored, runner.cfg)]
        scopes = [c.get('default_scope') for c in (stored, runner.cfg)]
        if len({find_type(OPTIMIZERS, *each) for each in zip(kinds, scopes)}) > 1:
            raise UserError(
                f'--resume: optim_wrapper.optimizer.type={kinds[1]!r}, and the checkpoint holds '
                f'the state of {kinds[0]!r}: keep it, {NEW_RUN}'
            )
    if len(schedulers) != len(states):
        raise UserError(
            f'--resume: param_scheduler has {len(schedulers)} parts in this run and {len(states)} '
            f'in the checkpoint: keep it as it was, {NEW_RUN}'
        )
    changed = _settings(changes, 'optim_wrapper.optimizer')
    if any(change.is_below('auto_scale_lr', 'optim_wrapper.paramwise_cfg') for change in changes):
        changed |= {'lr', 'weight_decay'}
    moved = adopt_settings(
        state,
        wrapper.optimizer,
        changed,
        {scheduler.param_name for scheduler in schedulers},
        _old_groups(runner, state, stored, changes),
    )
    for index, (scheduler, before) in enumerate(zip(schedulers, states)):
        adopt_schedule(before, scheduler, _settings(changes, f'param_scheduler.{index}'))
        if moved and 'base_values' in before:
            before['base_values'] = list(scheduler.base_values)
    return True


def _old_groups(
    runner: Runner, state: dict, stored: dict, changes: list[Change]
) -> Sequence[Sequence[nn.Parameter]] | None:
    """The parameters in the stored groups, where the config groups them otherwise now."""
    if not any(change.is_below('optim_wrapper.paramwise_cfg') for change in changes):
        return None
    before, now = stored['optim_wrapper'], runner.cfg.optim_wrapper
    ours = [
        builds(
            OPTIM_WRAPPER_CONSTRUCTORS,
            dict(type=config.get('constructor')),
            ViTOptimWrapperConstructor,
            scope,
        )
        for config, scope in (
            (before, stored.get('default_scope')),
            (now, runner.cfg.get('default_scope')),
        )
    ]
    names = any(isinstance(key, str) for group in state['param_groups'] for key in group['params'])
    if not all(ours) or names:  # FSDP's state has names for numbers
        return None
    old = ViTOptimWrapperConstructor(
        dict(optimizer=before['optimizer']), before.get('paramwise_cfg')
    )
    return list(old.group_parameters(runner.model).values())


def _settings(changes: Iterable[Change], place: str) -> set[str]:
    """Names directly below a place of the config in which something has changed."""
    prefix = f'{place}.'
    return {
        change.path.removeprefix(prefix).split('.')[0]
        for change in changes
        if change.path.startswith(prefix)
    }


def _has_no_effect(change: Change) -> bool:
    of_weights = change.is_below('model') and 'init_cfg' in change.path.split('.')
    return of_weights or change.is_below(*_STORED)


def _tell(effective: list[Change], idle: list[Change]) -> None:
    text = []
    if effective:
        text.append(f'In effect from here on: {_list(effective)}')
    if idle:
        text.append(f'Without effect, the checkpoint goes on as it was: {_list(idle)}')
    if text:
        level = logging.WARNING if idle else logging.INFO
        _say(f'The config has changed since the checkpoint. {". ".join(text)}', level)


def _list(changes: Iterable[Change]) -> str:
    return '; '.join(map(str, changes))


def _say(text: str, level: int = logging.WARNING) -> None:
    log(text, level=level)


def _pairs(own: Any, stored: Any) -> Iterator[tuple[Any, dict]]:
    """Schedulers and the states for them: lists, or dicts of lists for several optimizers."""
    if isinstance(own, dict) and isinstance(stored, dict):
        for name in own.keys() & stored.keys():
            yield from _pairs(own[name], stored[name])
    elif isinstance(own, list) and isinstance(stored, list):
        yield from zip(own, stored)


def _place(step: int, length: int) -> str:
    """A step in words, of schedules by iteration with its epoch where it is the end of one."""
    if not length:
        return f'at epoch {step}'
    epoch = '' if step % length else f' (epoch {step // length})'
    return f'at iteration {step}{epoch}'
