"""What a folder of images holds: headers, samples of pixels, duplicates, labels."""

import contextlib
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mae_plugin.cli.data_sources import Source, open_source
from mae_plugin.datasets.decoding.header import Header, read_header
from mae_plugin.datasets.duplicates import file_digest, groups, near_duplicates, picture_print
from mae_plugin.datasets.header_cache import HeaderCache
from mae_plugin.datasets.pixel_statistics import (
    BLOCK,
    ImageSums,
    Statistics,
    combine,
    image_sums,
    value_sample,
)
from mae_plugin.errors import UserError

MAX_PRINTS = 20_000  # images that are compared with each other unless all are asked for
MAX_SAMPLED = 20_000
ERROR = 0.008  # of mean and std, at which sampling ends
_BATCH = 128
_RANGE_IMAGES, _RANGE_VALUES = 2000, 4096  # that percentiles are taken of
LARGE = 4_000_000  # pixels, from which windows are better than the whole

Map = Callable[[Callable, Iterable], Iterator]


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


def inspect(
    roots: Sequence[str],
    everything: bool,
    workers: int,
    progress: Callable[[str, int, int], None],
    scratch: Path,
    percentiles: tuple[float, float] | None = None,
) -> Inspection:
    """Look at folders of images.

    Args:
        roots: Folders, searched recursively; list files; shards.
        everything: Read all pixels of all images, and compare all of them.
        workers: Processes that read.
        progress: Told what is being done, how many are done, and of how many.
        scratch: Folder in which images of shards are unpacked; they are looked at there.
        percentiles: Of the values, which shall become 0 and 255; for files of more than 8 bits.

    Raises:
        UserError: If a folder is missing or nothing in it can be used; if all files have 8 bits,
            and percentiles are given.
    """
    method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else None
    sources = [
        open_source(root, scratch / str(number), everything, progress)
        for number, root in enumerate(roots)
    ]
    found = Inspection(list(roots), [], [], datasets=[source.dataset for source in sources])
    found.total = sum(source.total for source in sources)
    with multiprocessing.get_context(method).Pool(workers) as pool:
        in_order: Map = partial(pool.imap, chunksize=16)
        _headers(found, sources, in_order, progress)
        _choose(found)
        if percentiles is not None:
            _fit_range(found, percentiles, in_order, progress)
        _statistics(found, everything, in_order, progress)
        _duplicates(found, everything, in_order, progress)
    return found


def _headers(
    found: Inspection, sources: Sequence[Source], in_order: Map, progress: Callable
) -> None:
    for source in sources:
        cache = HeaderCache.of(source.root)
        if 'shards' in source.dataset:  # a folder that is removed afterwards
            cache = HeaderCache(Path(source.root) / 'headers.json')
        headers = cache.read(
            source.root,
            source.names,
            partial(in_order, read_header),
            partial(_told, progress, len(source.names)),
        )
        found.paths += [os.path.join(source.root, name) for name in source.names]
        found.headers += headers
        if source.labels is not None:
            labels, classes = source.labels
            counts = np.bincount(labels, minlength=len(classes))
            for name, count in zip(classes, counts, strict=True):
                found.classes[name] = found.classes.get(name, 0) + int(count)
    found.bad = {
        path: header.reason for path, header in zip(found.paths, found.headers) if header.reason
    }
    if not found.usable:
        path, reason = next(iter(found.bad.items()))
        raise UserError(
            f'none of the {len(found.paths)} images can be used, the first: {path}: {reason}'
        )


def _told(progress: Callable[[str, int, int], None], total: int, done: int) -> None:
    progress('headers', done, total)


def _choose(found: Inspection) -> None:
    """Channels and options of decoding that suit most of the images."""
    kinds = Counter(_colours(found.headers[i]) for i in found.usable)
    found.channels = kinds.most_common(1)[0][0]
    if found.channels in (1, 3):  # grey becomes RGB, RGB grey
        found.channels = 3 if kinds[3] else 1
    deep = [
        found.headers[i].dtype == 'uint16' and found.headers[i].format != 'DICOM'
        for i in found.usable
    ]
    if np.mean(deep) > 0.5:
        found.options['keep_depth'] = True
    for i in found.usable:
        colours = _colours(found.headers[i])
        if colours != found.channels and not {colours, found.channels} <= {1, 3}:
            found.bad[found.paths[i]] = (
                f'{found.headers[i].channels} channels, where most images have {found.channels}'
            )


def _fit_range(
    found: Inspection, percentiles: tuple[float, float], in_order: Map, progress: Callable
) -> None:
    """The values at two percentiles, over as many values of each of some images."""
    options = {name: value for name, value in found.options.items() if name != 'keep_depth'}
    options |= dict(keep_depth=True, max_bytes=1 << 31)
    step = max(1, len(found.usable) // _RANGE_IMAGES)
    paths = [found.paths[i] for i in found.usable[::step]]
    read = partial(value_sample, channels=found.channels, options=options, count=_RANGE_VALUES)
    samples = []
    for sample in in_order(read, paths):
        samples.append(sample)
        progress('range', len(samples), len(paths))
    values = np.concatenate(samples)
    if not len(values):
        raise UserError('--percentiles is for files of more than 8 bits, and there are none')
    low, high = (float(f'{edge:.6g}') for edge in np.percentile(values, percentiles))
    if not low < high:
        raise UserError(
            f'--percentiles {percentiles[0]:g} {percentiles[1]:g}: both are at the value {low:g}; '
            'take them further apart'
        )
    found.options.pop('keep_depth', None)
    found.options['value_range'] = (low, high)


def _colours(header: Header) -> int:
    """Channels without the alpha of a picture."""
    if header.format in ('TIFF', 'npy', 'Zarr') and header.channels not in (2, 4):
        return header.channels
    if header.format in ('npy', 'Zarr'):
        return header.channels
    return {2: 1, 4: 3}.get(header.channels, header.channels)


def _statistics(found: Inspection, everything: bool, in_order: Map, progress: Callable) -> None:
    """Mean and std from as many images as they need, in an order that is the same each time."""
    usable = found.usable
    order = np.random.default_rng(0).permutation(len(usable))
    limit = len(order) if everything else min(len(order), MAX_SAMPLED)
    kept: list[ImageSums] = []
    options = dict(found.options, max_bytes=1 << 31)
    tried = 0
    while tried < limit:
        batch = [found.paths[usable[k]] for k in order[tried : tried + _BATCH]]
        read = partial(image_sums, channels=found.channels, whole=everything, options=options)
        for path, sums in zip(batch, in_order(read, batch)):
            if sums.fill:
                found.options['nodata'] = float(sums.fill) if sums.fill != 'nan' else 'nan'
            if sums.reason:
                found.bad[path] = sums.reason
            else:
                kept.append(sums)
        tried += len(batch)
        progress('pixels', tried, limit)
        if kept and not everything:
            total = max(len(kept), round(len(usable) * len(kept) / tried))
            if combine(kept, total, False).error < ERROR and tried < len(usable):
                break
    if not kept:
        path, reason = list(found.bad.items())[-1]
        raise UserError(f'none of the images that were tried can be used: {path}: {reason}')
    progress('pixels', limit, limit)
    total = len(kept) if tried == len(usable) else len(usable)
    found.statistics = combine(kept, total, everything)
    found.peak = max(sums.peak for sums in kept)


def _duplicates(found: Inspection, everything: bool, in_order: Map, progress: Callable) -> None:
    sizes: dict[int, list[int]] = {}
    for i in found.usable:
        with contextlib.suppress(OSError):
            if os.path.isfile(found.paths[i]):
                sizes.setdefault(os.path.getsize(found.paths[i]), []).append(i)
    alike = [i for group in sizes.values() if len(group) > 1 for i in group]
    first: dict[bytes, int] = {}
    pairs = []
    for i, digest in zip(alike, in_order(file_digest, [found.paths[i] for i in alike])):
        if digest:
            pairs.append((first.setdefault(digest, i), i))
    found.same = [group for group in groups(pairs) if len(group) > 1]
    repeated = {i for group in found.same for i in group[1:]}
    small = [
        i
        for i in found.usable
        if i not in repeated and found.headers[i].height * found.headers[i].width < 1 << 27
    ]
    found.compared = everything or len(small) <= MAX_PRINTS
    if not found.compared:
        return
    prints = []
    read = partial(picture_print, options=found.options)
    for print_ in in_order(read, [found.paths[i] for i in small]):
        prints.append(print_)
        if len(prints) % 64 == 0 or len(prints) == len(small):
            progress('copies', len(prints), len(small))
    found.near = [[small[k] for k in group] for group in near_duplicates(prints)]


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
