"""What differs between a run's config and the one that its checkpoint stores."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# What a run is built from. The rest are variables of config files, paths, and names.
_PARTS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'val_dataloader',
    'train_cfg',
    'val_cfg',
    'val_evaluator',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'randomness',
    'strategy',
    'default_hooks',
    'custom_hooks',
)
# How fast a batch is there, not what it is: the machine decides these.
_OF_THE_MACHINE = {
    'num_workers',
    'persistent_workers',
    'pin_memory',
    'prefetch_factor',
    'index_cache',
}
# Keys whose values are names of registered parts.
_TYPES = {'type', 'constructor'}
_LONGEST = 60  # characters of a value that are shown


class _Absent:
    """Stands for a setting that one of the configs does not have."""

    def __repr__(self) -> str:
        return 'not set'


ABSENT = _Absent()


@dataclass(frozen=True)
class Change:
    """A setting with two values.

    Attributes:
        path: Where it stands, such as ``optim_wrapper.optimizer.lr``.
        before: The checkpoint's value, or ``ABSENT``.
        now: This run's.
    """

    path: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f'{self.path}: {_short(self.before)} -> {_short(self.now)}'

    def is_below(self, *places: str) -> bool:
        """Whether the setting is one of ``places`` or part of one."""
        return any(f'{self.path}.'.startswith(f'{place}.') for place in places)


def find_changes(before: Mapping, now: Mapping) -> list[Change]:
    """Compare two configs in what a run is built from.

    A name without scope stands for that of its config's ``default_scope``, so that a config may
    say the scope of its types or leave it out.
    """
    scopes = [config.get('default_scope', 'mmengine') for config in (before, now)]
    found: list[Change] = []
    for part in _PARTS:
        pair = [_plain(c.get(part), scope) for c, scope in zip((before, now), scopes)]
        found += _differences(part, *pair)
    return found


def _plain(value: Any, scope: str, key: str = '') -> Any:
    """The same with lists for tuples, types with their scope, and one scheduler as a list."""
    if isinstance(value, Mapping):
        return {
            name: _plain(part, scope, str(name))
            for name, part in value.items()
            if name not in _OF_THE_MACHINE
        }
    if isinstance(value, list | tuple):
        return [_plain(part, scope) for part in value]
    if key in _TYPES and isinstance(value, str) and '.' not in value:
        return f'{scope}.{value}'
    return value


def _differences(path: str, before: Any, now: Any) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(f'{path}.{key}', before.get(key, ABSENT), now.get(key, ABSENT))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, pair in enumerate(zip(before, now)):
            yield from _differences(f'{path}.{index}', *pair)
    elif before != now and not (_is_nothing(before) and _is_nothing(now)):
        yield Change(path, before, now)


def _is_nothing(value: Any) -> bool:
    return value is ABSENT or value is None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'
