"""Compose a small labelled set, one object in each picture: class folders for probes and tables.

The pictures are those of the playground (tools/make_playground.py): one cut-out photograph over a
photograph, and train and validation share no cut-out and no background, so a classifier must
recognise individuals that it has never seen. Where the playground's cut-outs and photographs come
from, and the options for your own, are the same.

    python tools/make_class_folders.py --out data/classes
    python tools/make_class_folders.py --cutouts my/cutouts --photos my/photos --out data/mine

What is written: ``{train,val}/<class>/000000.jpg`` and ``plan.json``. The result is a pure
function of the parameters and the pictures; a finished set is reused.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from make_playground import make_plan, write_json
from playground.library import load_library
from playground.scene import NOISE, paste, pose_background, pose_cutout

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError

SPLITS = ('train', 'val')
EXTENT = (0.65, 1.0)  # geometric mean of an object's height and width over the picture's height
OFFSET = 0.2  # of its centre from the picture's, over the picture's size, at most


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line; the options of the pictures are the playground's."""
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default=Path('data/classes'))
    parser.add_argument('--cutouts', type=Path, help='folder of <class>/*.png with alpha')
    parser.add_argument('--photos', type=Path, help='folder of backgrounds')
    parser.add_argument('--size', default='64x64', help='WIDTHxHEIGHT of a picture in pixels')
    parser.add_argument('--train', type=int, default=6000, help='pictures for training')
    parser.add_argument('--val', type=int, default=1800, help='pictures for validation')
    parser.add_argument('--val-fraction', type=float, default=0.4, help='of the cut-outs')
    parser.add_argument(
        '--min-cutouts', type=int, default=12, help='leave out classes with fewer cut-outs'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--cache', type=Path, default=Path(cache, 'mae_plugin/playground'))
    args = parser.parse_args(argv)
    if (args.cutouts is None) != (args.photos is None):
        parser.error('--cutouts and --photos go together')
    args.pretrain = 0
    return args


def compose_picture(
    cutouts: list[np.ndarray],
    photos: list[np.ndarray],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """One posed cut-out near the middle of a background: (H, W, 3) uint8 RGB.

    Args:
        cutouts: The class's, (h, w, 4) RGBA.
        photos: Backgrounds, (h, w, 3) RGB.
        size: Width and height of the picture.
        rng: Source of everything random.
    """
    width, height = size
    image = pose_background(photos[rng.integers(len(photos))], size, rng)
    cutout = cutouts[rng.integers(len(cutouts))]
    colour, alpha = pose_cutout(cutout, rng.uniform(*EXTENT) * height, rng)
    middle = (0.5 + rng.uniform(-OFFSET, OFFSET, 2)) * (height, width)
    top, left = (middle - np.array(alpha.shape) / 2).round().astype(int)
    paste(image, colour, alpha, (int(top), int(left)))
    image += rng.normal(0, NOISE, image.shape).astype(np.float32)
    return image.clip(0, 255).round().astype(np.uint8)


def compose(out: Path, plan: dict, split: str) -> None:
    """Write one split, its classes in turn, so that all have as many pictures."""
    pictures = plan['pictures'][split]
    width, height = plan['size']
    cutouts = [[Path(p) for p in pictures['cutouts'][name]] for name in plan['classes']]
    library = load_library(cutouts, [Path(p) for p in pictures['photos']], (width, height))
    for name in plan['classes']:
        (out / split / name).mkdir(parents=True, exist_ok=True)
    for index in range(plan['scenes'][split]):
        label = index % len(plan['classes'])
        rng = np.random.default_rng([plan['seed'], SPLITS.index(split), index])
        image = compose_picture(library.cutouts[label], library.photos, (width, height), rng)
        path = out / split / plan['classes'][label] / f'{index:06d}.jpg'
        cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])


def keep_large_classes(plan: dict, min_cutouts: int) -> dict:
    """Leave out classes with fewer cut-outs than that in train and val together.

    Raises:
        UserError: If fewer than two classes are left.
    """
    both = [plan['pictures'][split]['cutouts'] for split in SPLITS]
    names = [n for n in plan['classes'] if sum(len(part[n]) for part in both) >= min_cutouts]
    if len(names) < 2:
        raise UserError(
            f'--min-cutouts {min_cutouts} leaves {len(names)} class(es) of '
            f'{len(plan["classes"])}: lower it, or bring more cut-outs'
        )
    for part in both:
        for name in set(plan['classes']) - set(names):
            del part[name]
    return plan | dict(classes=names, min_cutouts=min_cutouts)


def main(argv: list[str] | None = None) -> None:
    """Compose the set, or find it finished."""
    args = parse_args(argv)
    plan = keep_large_classes(make_plan(args), args.min_cutouts)
    state = args.out / 'plan.json'
    if state.is_file() and json.loads(state.read_text()) == plan:
        print(f'{args.out} holds this set already')
    else:
        if args.out.is_dir() and any(args.out.iterdir()) and not state.is_file():
            raise UserError(f'{args.out} holds other files; choose another --out')
        state.unlink(missing_ok=True)
        for split in SPLITS:
            shutil.rmtree(args.out / split, ignore_errors=True)
            compose(args.out, plan, split)
        write_json(state, plan)
    for split in SPLITS:
        cutouts = plan['pictures'][split]['cutouts']
        counts = ', '.join(f'{name} {len(paths)}' for name, paths in cutouts.items())
        print(f'{split}: {plan["scenes"][split]} pictures of {args.size} from cut-outs: {counts}')


if __name__ == '__main__':
    with user_errors():
        main()
