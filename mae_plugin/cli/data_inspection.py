"""Look at folders of images: headers, samples of pixels, duplicates, labels."""

import contextlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mae_plugin.cli.data_sources import Source, open_source
from mae_plugin.cli.inspection import MAX_PRINTS, Inspection
from mae_plugin.datasets.decoding.header import Header, read_header
from mae_plugin.datasets.duplicates import file_digest, groups, near_duplicates, picture_print
from mae_plugin.datasets.header_cache import HeaderCache
from mae_plugin.datasets.pixel_statistics import (
    ImageSums,
    combine,
    image_sums,
    value_sample,
)
from mae_plugin.errors import UserError

MAX_SAMPLED = 20_000
ERROR = 0.008  # of mean and std, at which sampling ends
_BATCH = 128
_RANGE_IMAGES, _RANGE_VALUES = 2000, 4096  # that percentiles are taken of

Map = Callable[[Callable, Iterable], Iterator]


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
    digests = in_order(file_digest, [found.paths[i] for i in alike])
    for number, (i, digest) in enumerate(zip(alike, digests), 1):
        if digest:
            pairs.append((first.setdefault(digest, i), i))
        if number % 256 == 0 or number == len(alike):
            progress('same files', number, len(alike))
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
            progress('pictures', len(prints), len(small))
    whole = sum(print_.thumb is not None for print_ in prints)
    near = near_duplicates(prints, lambda done: progress('copies', done, whole))
    found.near = [[small[k] for k in group] for group in near]
