"""What is known of some folders of images, and one screen of it."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mae_plugin.datasets.decoding.header import Header
from mae_plugin.datasets.pixel_statistics import BLOCK, Statistics

MAX_PRINTS = 20_000  # images that are compared with each other unless all are asked for
LARGE = 4_000_000  # pixels, from which windows are better than the whole


@dataclass
class Inspection:
    """All that is known of some folders of images.

    Attributes:
        roots: The folders.
        paths: Full paths of all image files.
        headers: Of each.
        classes: Images of each class folder; empty where there are no labels.
        left_out: Files of other kinds, by suffix.
        channels, options: How training will read them: channels, and options of the loaders.
        bad: Path and reason of what cannot be used.
        statistics: In the preprocessor's scale.
        peak: The brightest value of nearly all pixels, of 16 bits.
        same, near: Groups of numbers of images: the same bytes, the same picture.
        compared: Whether near duplicates were looked for.
        datasets: Of the config, one for each root.
        total: Images that there are; of shards not all are looked at.
    """

    roots: list[str]
    paths: list[str]
    headers: list[Header]
    classes: dict[str, int] = field(default_factory=dict)
    channels: int = 3
    options: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    statistics: Statistics | None = None
    peak: float = 0.0
    same: list[list[int]] = field(default_factory=list)
    near: list[list[int]] = field(default_factory=list)
    compared: bool = True
    datasets: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0

    @property
    def usable(self) -> list[int]:
        """Numbers of the images that training can use."""
        return [i for i, path in enumerate(self.paths) if path not in self.bad]

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each usable image."""
        return np.array([self.headers[i].height * self.headers[i].width for i in self.usable])

    @property
    def wants_windows(self) -> bool:
        """Whether most of the area lies in large images of which parts can be read."""
        if any('shards' in dataset for dataset in self.datasets):
            return False  # a shard's images are read whole
        large = [
            area
            for i, area in zip(self.usable, self.areas, strict=True)
            if area > LARGE and self.headers[i].parts
        ]
        return sum(large) > self.areas.sum() / 2


def summary(found: Inspection) -> dict[str, str]:
    """One screen of it, as names and words."""
    used = [found.headers[i] for i in found.usable]

    def counted(values: Iterable) -> str:
        counts = Counter(values).most_common()
        shown = ', '.join(f'{value} {count:,}' for value, count in counts[:5])
        return shown + (f', {len(counts) - 5} more' if len(counts) > 5 else '')

    def quantiles(values: Sequence[int]) -> str:
        points = np.quantile(values, [0, 0.05, 0.5, 0.95, 1]).astype(int)
        return ' | '.join(f'{value:,}' for value in points)

    rest = f', of {found.total:,}' * (found.total > len(found.paths))
    lines = {
        'images': f'{len(found.paths):,} files{rest}, {len(found.bad):,} of them unusable',
        'formats': counted(header.format for header in used),
        'channels': counted(header.channels for header in used),
        'values': counted(header.dtype for header in used),
        'height (0, 5, 50, 95, 100%)': quantiles([header.height for header in used]),
        'width': quantiles([header.width for header in used]),
    }
    for path, reason in list(found.bad.items())[:3]:
        lines[f'unusable: {Path(path).name}'] = reason[:120]
    stats = found.statistics
    assert stats is not None
    error = 'all pixels' if stats.exact else f'{stats.images:,} images, within {stats.error:.1%}'
    if not stats.exact and stats.error == 0:
        large = any(header.height * header.width > 4 * BLOCK * BLOCK for header in used)
        error = f'{"parts of " * large}all {stats.images:,} images'
    elif not np.isfinite(stats.error):
        error = f'{stats.images:,} images, too few to tell the error'
    lines[f'mean ({error})'] = numbers(stats.mean)
    lines['std'] = numbers(stats.std)
    if 'value_range' in found.options:
        low, high = found.options['value_range']
        lines['value range'] = f'{low:g} to {high:g} become 0 to 255'
    if 'nodata' in found.options:
        lines['missing data'] = f'marked by {found.options["nodata"]}, which the files do not say'
    extra = sum(len(group) - 1 for group in found.same)
    lines['the same file again'] = f'{extra:,}'
    near = sum(len(group) - 1 for group in found.near)
    lines['the same picture again'] = (
        f'{near:,} (resized, recompressed or mirrored)'
        if found.compared
        else f'not looked for among more than {MAX_PRINTS:,}; --all does'
    )
    if found.classes:
        values = list(found.classes.values())
        lines['labels'] = f'{len(values)} class folders of {min(values):,} to {max(values):,}'
    return lines


def numbers(values: np.ndarray) -> str:
    """Values of the channels as a config writes them."""
    return json.dumps([float(f'{value:.6g}') for value in values])
