"""Cut-outs of pure hues and grey photographs, of which the playground is composed in tests."""

from pathlib import Path

import cv2
import numpy as np

HUES = dict(red=(255, 0, 0), green=(0, 255, 0), blue=(0, 0, 255))
MIXED = dict(cyan=(0, 255, 255), magenta=(255, 0, 255), yellow=(255, 255, 0))
CLASSES = dict(primary=HUES, secondary=MIXED)


def write_sources(root: Path) -> tuple[Path, Path]:
    """Two classes of three cut-outs, six grey photographs."""
    rng = np.random.default_rng(0)
    for name, colours in CLASSES.items():
        (root / 'cutouts' / name).mkdir(parents=True)
        for number, (colour, rgb) in enumerate(colours.items()):
            rgba = np.zeros((70, 50 + 15 * number, 4), np.uint8)
            rgba[..., :3] = rgb
            mask = np.zeros(rgba.shape[:2], np.uint8)
            centre = (rgba.shape[1] // 2, 35)
            cv2.ellipse(mask, centre, (rgba.shape[1] // 2 - 3, 30), 0, 0, 300, 255, -1)
            rgba[..., 3] = mask
            write_rgb(root / 'cutouts' / name / f'{colour}.png', rgba)
    (root / 'photos').mkdir()
    for number in range(6):
        grey = cv2.resize(rng.integers(60, 200, (6, 8)).astype(np.uint8), (120, 90))
        write_rgb(root / 'photos' / f'{number}.png', np.dstack([grey] * 3))
    return root / 'cutouts', root / 'photos'


def write_rgb(path: Path, image: np.ndarray) -> None:
    order = [2, 1, 0, 3][: image.shape[2]]
    cv2.imwrite(str(path), np.ascontiguousarray(image[..., order]))


def arguments(sources: tuple[Path, Path], out: Path, **options) -> list[str]:
    given = dict(size='96x72', pretrain=60, train=24, val=16, seed=3, workers=2, **options)
    flags = [f'--{name}={value}' for name, value in given.items()]
    return [f'--cutouts={sources[0]}', f'--photos={sources[1]}', f'--out={out}', *flags]
