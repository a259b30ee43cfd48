"""What happened to each key of a checkpoint, in words."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class LoadReport:
    """What :func:`mae_plugin.checkpoint.load_pretrained` did.

    Attributes:
        source: The file.
        format: Name of the layout that was recognised.
        loaded: Names of the model's tensors that were read as they are.
        changed: Names of the model's tensors that were adapted, and how.
        initial: Names of the model's tensors that stay as initialised.
        ignored: Keys of the file that were not used.
        lost: Keys of the file without which the encoder computes something else.
        told: What is known of the encoder that no tensor shows, and from where.
        doubts: Where the model may compute something else than the encoder did.
        misfits: Parts that were loaded, and trained on something else than the model gives them.
        unfit: Names of the model's tensors that the file has in another shape, and both shapes.
    """

    source: str
    format: str
    loaded: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    initial: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    unfit: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f'Loaded {self.source} ({self.format})']
        lines.append(f'  loaded: {len(self.loaded)} tensors as they are')
        by_change: dict[str, list[str]] = {}
        for name, change in self.changed.items():
            by_change.setdefault(change, []).append(name)
        lines += [f'  changed: {shorten(names)}: {how}' for how, names in by_change.items()]
        lines.append(f'  left at initialisation: {shorten(self.initial) or "nothing"}')
        lines.append(f'  ignored in the file: {shorten(self.ignored) or "nothing"}')
        if self.told:
            lines.append(f'  no tensor shows: {"; ".join(self.told)}')
        lines += [f'  DOUBTFUL: {doubt}' for doubt in [*self.doubts, *self.misfits]]
        if self.lost:
            lines.append(
                f'  LEFT OUT, as asked for: {shorten(self.lost)}. The encoder computes something '
                'else than the one in the file, until it is fine-tuned'
            )
        return '\n'.join(lines)


def shorten(names: Iterable[str], most: int = 8) -> str:
    """Names in one line: ``blocks.*.norm1 (12)`` for alike ones, modules alone if still many."""
    names = list(names)
    groups = Counter(re.sub(r'\.\d+\b', '.*', name) for name in names)
    if len(groups) > most:
        groups = Counter(name.split('.')[0] + '.*' * ('.' in name) for name in names)
    shown = [f'{name} ({n})' if n > 1 else name for name, n in list(groups.items())[:most]]
    return ', '.join(shown) + (f' and {len(groups) - most} more' if len(groups) > most else '')
