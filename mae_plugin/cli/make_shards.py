"""Pack a folder of images into tar shards, for disks and networks that dislike small files.

Examples:
    python tools/make_shards.py data/imagenet/train data/imagenet-shards
    python tools/make_shards.py photos photos-shards --per-shard 500 --no-labels

Train from them with a dataset of ``type='ImageShards', shards='data/imagenet-shards'``.

The images' bytes are copied as they are, in random order, into webdataset's layout. Each shard
appears whole or not at all; run again after an interruption, the command goes on where it was.
At the end ``index.npz`` (place of every image) and ``classes.txt`` are written beside the shards.
"""

import json
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from mae_plugin.errors import UserError


def parse_args(argv: list[str] | None = None) -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('source', type=Path, help='folder of images, searched recursively')
    parser.add_argument('target', type=Path, help='folder for the shards')
    parser.add_argument('--per-shard', type=int, default=2000, help='images per shard')
    parser.add_argument('--seed', type=int, default=0, help='of the order of the images')
    parser.add_argument(
        '--no-labels', action='store_true', help='leave out labels (the top-level folders)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Write the shards and their index."""
    args = parse_args(argv)
    from mae_plugin.cli.run_config import user_errors

    with user_errors():
        make_shards(args.source, args.target, args.per_shard, args.seed, not args.no_labels)


def make_shards(
    source: Path, target: Path, per_shard: int = 2000, seed: int = 0, labels: bool = True
) -> None:
    """Write shards ``images-00000.tar ...``, ``index.npz`` and ``classes.txt`` to ``target``.

    Raises:
        UserError: If ``source`` has no images, ``per_shard`` is not positive, or ``target``
            holds shards that were begun with other settings or images.
    """
    import numpy as np
    from rich.progress import track

    from mae_plugin.datasets.image_folder import EXTENSIONS, ImageFolder
    from mae_plugin.datasets.shards.shard_index import ShardIndex

    if per_shard < 1:
        raise UserError(f'--per-shard {per_shard} must be at least 1')
    images = ImageFolder(str(source), labels='auto' if labels else False, index_cache=False)
    settings = dict(
        source=str(source.resolve()),
        images=len(images),
        names=_checksum(images.paths.names),
        per_shard=per_shard,
        seed=seed,
        labels=images.labels is not None,
    )
    target.mkdir(parents=True, exist_ok=True)
    _check_settings(target / 'settings.json', settings)

    order = np.random.default_rng(seed).permutation(len(images))
    starts = range(0, len(order), per_shard)
    shards = [target / f'images-{number:05d}.tar' for number in range(len(starts))]
    skipped = []
    for start, shard in track(list(zip(starts, shards, strict=True)), 'shards', show_speed=False):
        if not shard.exists():
            skipped += _write_shard(shard, images, order[start : start + per_shard], start)
    if images.classes:
        _write_text(target / 'classes.txt', ''.join(f'{name}\n' for name in images.classes))
    files = [str(shard) for shard in shards]
    index = ShardIndex.scan(files, EXTENSIONS, [shard.name for shard in shards])
    index.save(target / 'index.npz')
    for path in skipped:
        print(f'left out, cannot be read: {path}', file=sys.stderr)
    size = int(index.sizes.sum()) / 1e9
    print(f'{len(index.names)} images in {len(shards)} shards, {size:.2f} GB: {target}')


def _write_shard(shard: Path, images, indices, start: int) -> list[str]:
    """Write one shard, whole or not at all; paths of the images that could not be read."""
    from webdataset import TarWriter

    skipped = []
    part = shard.with_suffix('.part')
    with open(part, 'wb') as file:
        with TarWriter(file, mtime=0, user='', group='') as writer:
            for position, index in enumerate(map(int, indices), start):
                located = images.locate(index)
                try:
                    content = Path(located['img_path']).read_bytes()
                except OSError:
                    skipped.append(located['img_path'])
                    continue
                sample: dict[str, str | bytes] = {'__key__': _key(images.paths[index], position)}
                sample[Path(located['img_path']).suffix[1:].lower()] = content
                if 'gt_label' in located:
                    sample['cls'] = str(located['gt_label']).encode()
                writer.write(sample)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, shard)
    return skipped


def _key(path: str, position: int) -> str:
    """A name without dots that is unique, sorts in the shards' order and tells the source."""
    stem = os.path.splitext(path)[0].replace('.', '_').replace('\n', '_')
    return f'{position:09d}-{stem.replace("/", "-")}'


def _checksum(names) -> int:
    import zlib

    return zlib.crc32(names.tobytes())


def _check_settings(path: Path, settings: dict) -> None:
    if not path.exists():
        _write_text(path, json.dumps(settings, indent=2) + '\n')
        return
    begun = json.loads(path.read_text(encoding='utf-8'))
    changed = [f'{k}={begun.get(k)!r}' for k, v in settings.items() if begun.get(k) != v]
    if changed:
        raise UserError(
            f'{path.parent} was begun with {", ".join(changed)}; go on with these, or choose '
            f'another folder'
        )


def _write_text(path: Path, text: str) -> None:
    part = path.with_suffix('.part')
    part.write_text(text, encoding='utf-8', errors='surrogateescape')
    os.replace(part, path)
