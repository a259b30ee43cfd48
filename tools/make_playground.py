"""Compose the playground: a small COCO, a small ADE20K and an unlabelled folder, all real pixels.

Cut-out photographs are pasted over photographs, so boxes, instance masks under occlusion and
semantic maps are known exactly. Train and validation share no cut-out and no background. Without
options the pictures come from Debian packages (about 360 MB, fetched once into the cache, no root
needed); with ``--cutouts`` and ``--photos`` from your own folders.

    python tools/make_playground.py --out data/playground
    python tools/make_playground.py --cutouts my/cutouts --photos my/photos --out data/mine

Cut-outs are RGBA files in one sub-folder per class. What is written:

    pretrain/000000.jpg                  unlabelled scenes of train cut-outs and backgrounds
    images/{train,val}/000000.jpg        labelled scenes
    annotations/instances_{train,val}.json   COCO: boxes and masks of the visible pixels
    semantic/{train,val}/000000.png      0 background, k = k-th class
    preview_{train,val}.png              some labelled scenes with boxes and masks drawn
    classes.json                         class names, in the order of their ids
    playground.json                      parameters, and which pictures went into which split

The result is a pure function of the parameters and the pictures. A finished set is reused, an
interrupted one is completed. The scores of models trained on it are not COCO's or ADE20K's.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from mmengine.utils import ProgressBar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playground.annotations import coco_file, instance_annotations, semantic_map
from playground.debian import debian_cutouts, debian_photos
from playground.library import (
    Library,
    folder_cutouts,
    folder_photos,
    load_library,
    split_paths,
)
from playground.preview import draw_preview
from playground.scene import SceneSettings, compose_scene

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError

VERSION = 1  # raise it when the same parameters would give other scenes
CHUNK = 50  # scenes per unit of work; an interrupted run loses at most one per process
STREAMS = ('pretrain', 'train', 'val')
OURS = ('pretrain', 'images', 'annotations', 'semantic', '.parts', 'classes.json')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; see the module's description."""
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default=Path('data/playground'))
    parser.add_argument('--cutouts', type=Path, help='folder of <class>/*.png with alpha')
    parser.add_argument('--photos', type=Path, help='folder of backgrounds')
    parser.add_argument('--size', default='128x96', help='WIDTHxHEIGHT of a scene in pixels')
    parser.add_argument('--pretrain', type=int, default=6000, help='unlabelled scenes')
    parser.add_argument('--train', type=int, default=600, help='labelled scenes for training')
    parser.add_argument('--val', type=int, default=200, help='labelled scenes for validation')
    parser.add_argument('--val-fraction', type=float, default=0.25, help='of the pictures')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=os.cpu_count())
    parser.add_argument('--force', action='store_true', help='replace a set of other parameters')
    parser.add_argument('--cache', type=Path, default=Path(cache, 'mae_plugin/playground'))
    args = parser.parse_args(argv)
    if (args.cutouts is None) != (args.photos is None):
        parser.error('--cutouts and --photos go together')
    return args


def parse_size(text: str) -> tuple[int, int]:
    """'128x96' -> (128, 96), width and height in pixels."""
    parts = text.lower().split('x')
    if len(parts) != 2 or not all(part.isdigit() and int(part) >= 32 for part in parts):
        raise UserError(f'--size {text!r}: expected WIDTHxHEIGHT of at least 32, such as 128x96')
    return int(parts[0]), int(parts[1])


def make_plan(args: argparse.Namespace) -> dict:
    """Everything the scenes depend on: parameters, class names, each split's files and digests."""
    if args.cutouts is not None:
        cutouts, photos = folder_cutouts(args.cutouts), folder_photos(args.photos)
    else:
        cache = args.cache.expanduser()
        cutouts, photos = debian_cutouts(cache), debian_photos(cache)
    rng = np.random.default_rng(args.seed)
    names = list(cutouts)
    split = [split_paths(cutouts[k], args.val_fraction, rng, f'class {k}') for k in names]
    backgrounds = split_paths(photos, args.val_fraction, rng, 'backgrounds')
    digest = hashlib.sha256()
    for parts in (*split, backgrounds):
        for path in (*parts[0], *parts[1]):
            digest.update(path.read_bytes())
    return dict(
        version=VERSION,
        seed=args.seed,
        size=list(parse_size(args.size)),
        scenes={stream: getattr(args, stream) for stream in STREAMS},
        classes=names,
        pictures={
            part: dict(
                cutouts={
                    name: [str(path) for path in parts[i]] for name, parts in zip(names, split)
                },
                photos=[str(path) for path in backgrounds[i]],
            )
            for i, part in enumerate(('train', 'val'))
        },
        pictures_sha256=digest.hexdigest(),
    )


def prepare_folder(out: Path, plan: dict, force: bool) -> bool:
    """Make the folder ready for this plan; False when it holds the finished set already.

    Raises:
        UserError: When the folder holds a set of other parameters, or other files.
    """
    state = out / 'playground.json'
    if state.is_file():
        found = json.loads(state.read_text())
        if found['plan'] == plan:
            return not found['finished']
    if out.is_dir() and any(out.iterdir()):
        if not (force and state.is_file()):
            what = 'a playground of other parameters' if state.is_file() else 'other files'
            raise UserError(
                f'{out} holds {what}; choose another --out'
                + (', or --force to replace it' if state.is_file() else '')
            )
        for name in OURS:
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    write_json(state, dict(plan=plan, finished=False))
    return True


def write_json(path: Path, content: object) -> None:
    """Write so that a reader, or a resumed run, never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(content))
    partial.replace(path)


class Composer:
    """Writes chunks of scenes; one lives in each worker process.

    Args:
        out: The playground's folder.
        plan: See :func:`make_plan`.
        libraries: Pictures for 'train' and 'val'.
    """

    current: 'Composer'

    def __init__(self, out: Path, plan: dict, libraries: dict[str, Library]) -> None:
        self.out = out
        self.seed = plan['seed']
        self.counts = plan['scenes']
        self.settings = SceneSettings(size=tuple(plan['size']))
        self.libraries = libraries
        cv2.setNumThreads(0)

    @classmethod
    def start(cls, *args) -> None:
        """Initializer of a worker process."""
        cls.current = cls(*args)

    @staticmethod
    def run(job: tuple[str, int]) -> int:
        """Write one chunk in a worker; returns the number of scenes."""
        return Composer.current.write_chunk(*job)

    def write_chunk(self, stream: str, chunk: int) -> int:
        """Write up to ``CHUNK`` scenes and then the record that they are there."""
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, self.counts[stream])
        records = [self.write_scene(stream, index) for index in range(first, last)]
        write_json(part_path(self.out, stream, chunk), records)  # last: a chunk with it is done
        return last - first

    def write_scene(self, stream: str, index: int) -> dict:
        """Compose and write one scene; returns its record for :func:`coco_file`."""
        library = self.libraries['val' if stream == 'val' else 'train']
        rng = np.random.default_rng([self.seed, STREAMS.index(stream), index])
        scene = compose_scene(library, self.settings, rng)
        height, width = scene.owner.shape
        folder = 'pretrain' if stream == 'pretrain' else f'images/{stream}'
        name = f'{index:06d}.jpg'
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        cv2.imwrite(str(self.out / folder / name), scene.image[..., ::-1], quality)
        if stream == 'pretrain':
            return dict(file_name=name)
        semantic = self.out / 'semantic' / stream / f'{index:06d}.png'
        cv2.imwrite(str(semantic), semantic_map(scene))
        annotations = instance_annotations(scene)
        return dict(file_name=name, width=width, height=height, annotations=annotations)


def part_path(out: Path, stream: str, chunk: int) -> Path:
    """Where a chunk's records wait for the others; the file exists when the chunk is done."""
    return out / '.parts' / f'{stream}_{chunk:05d}.json'


def compose(out: Path, plan: dict, workers: int) -> None:
    """Write all scenes that are not there yet, then the annotation files."""
    chunks = {stream: -(-plan['scenes'][stream] // CHUNK) for stream in STREAMS}
    jobs = [(stream, chunk) for stream in STREAMS for chunk in range(chunks[stream])]
    jobs = [job for job in jobs if not part_path(out, *job).is_file()]
    for folder in ('pretrain', 'images/train', 'images/val', 'semantic/train', 'semantic/val'):
        (out / folder).mkdir(parents=True, exist_ok=True)
    if jobs:
        print('loading pictures', flush=True)
        libraries = {}
        for part, pictures in plan['pictures'].items():
            cutouts = [[Path(p) for p in paths] for paths in pictures['cutouts'].values()]
            photos = [Path(p) for p in pictures['photos']]
            libraries[part] = load_library(cutouts, photos, tuple(plan['size']))
        print(f'composing scenes in {workers} process(es)', flush=True)
        progress = ProgressBar(len(jobs))
        args = (out, plan, libraries)
        with multiprocessing.Pool(workers, Composer.start, args) as pool:
            for _ in pool.imap_unordered(Composer.run, jobs):
                progress.update()
        print()
    write_json(out / 'classes.json', plan['classes'])
    for stream in ('train', 'val'):
        parts = [part_path(out, stream, chunk) for chunk in range(chunks[stream])]
        records = [record for part in parts for record in json.loads(part.read_text())]
        target = out / 'annotations' / f'instances_{stream}.json'
        write_json(target, coco_file(records, plan['classes']))
        cv2.imwrite(str(out / f'preview_{stream}.png'), draw_preview(out, stream))
    write_json(out / 'playground.json', dict(plan=plan, finished=True))
    shutil.rmtree(out / '.parts')


def main(argv: list[str] | None = None) -> None:
    """Compose, complete or reuse a set and say what it holds."""
    args = parse_args(argv)
    plan = make_plan(args)
    if prepare_folder(args.out, plan, args.force):
        compose(args.out, plan, args.workers)
        print(f'{args.out} is ready')
    else:
        print(f'{args.out} holds this set already')
    scenes = ', '.join(f'{count} {stream}' for stream, count in plan['scenes'].items())
    print(f'{scenes} scenes of {args.size}; classes: {", ".join(plan["classes"])}')
    for part, pictures in plan['pictures'].items():
        cutouts = sum(len(paths) for paths in pictures['cutouts'].values())
        print(f'{part}: {cutouts} cut-outs, {len(pictures["photos"])} backgrounds')


if __name__ == '__main__':
    with user_errors():
        main()
