"""A pretraining config of some data, each choice with its reason."""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader

from mae_plugin.arch import ARCHS
from mae_plugin.checkpoint.known_weights import is_name
from mae_plugin.cli.inspection import Inspection, numbers


class Recipe(NamedTuple):
    """What a number of images calls for.

    Attributes:
        up_to: Images.
        arch: From the official weights; ``scratch`` where these do not fit the data.
        epochs: Passes over the data.
        why: The reason, with its source.
    """

    up_to: float
    arch: str
    scratch: str
    epochs: int
    why: str


RECIPES = (
    Recipe(
        1_000, 'base', 'tiny', 800,
        'too few to learn from alone: go on from the official weights, and first try DINOv2, '
        'DINOv3 or Pixio, frozen or with LoRA, which may need no pretraining at all (the dinov2, '
        'dinov3, pixio and lora configs of configs/detection and configs/segmentation)',
    ),
    Recipe(
        10_000, 'base', 'small', 800,
        'from scratch MAE does worse on a few thousand pictures than ImageNet weights: go on '
        'from the official file with its decoder, and compare with a frozen or LoRA-tuned DINOv2, '
        'DINOv3 or Pixio (the configs of these names in configs/detection, configs/segmentation)',
    ),
    Recipe(
        100_000, 'base', 'small', 400,
        "under 100,000 images 200 to 2,000 epochs (LightlyTrain's rule)",
    ),
    Recipe(
        1_000_000, 'base', 'base', 300,
        "up to a million images 100 to 500 epochs (LightlyTrain's rule); enough for ViT-B",
    ),
    Recipe(
        10_000_000, 'large', 'large', 200,
        'ViT-L gains from a million images on (85.9 against 83.6 on ImageNet, MAE table 3)',
    ),
    Recipe(
        float('inf'), 'large', 'large', 50,
        "above ten million images 5 to 100 epochs (LightlyTrain's rule)",
    ),
)  # fmt: skip
_GENERAL = {'data', 'files', 'images', 'img', 'imgs', 'jpegimages', 'pictures', 'train'}
WEIGHTS = {'base': 'mae-base-full', 'large': 'mae-visualize-large'}  # with their decoders


def recipe_for(images: int) -> Recipe:
    """The row of the table for a number of images (windows, of large ones)."""
    return next(recipe for recipe in RECIPES if images <= recipe.up_to)


def size_and_patch(sides: Sequence[int], windows: bool) -> tuple[int, int, str]:
    """Image size, patch size and the reason.

    Args:
        sides: The shorter side of each image.
        windows: Whether windows of large images are shown.
    """
    median = int(np.median(sides))
    if windows or median >= 192:
        how = f'half of the images have {median} px or more on the shorter side'
        how = 'windows of large images' if windows else how
        return 224, 16, f'{how}; the official weights were made at 224 px, with patches of 16'
    small = ((128, 8), (96, 8), (64, 4), (32, 4))
    size, patch = next((pair for pair in small if median >= pair[0] * 3 // 4), small[-1])
    why = (
        f'half of the images have {median} px or less on the shorter side, and would only be '
        f'blown up; patches of {patch} keep {(size // patch) ** 2} tokens'
    )
    return size, patch, why


def write_config(found: Inspection, pretrained: str | None, device: str) -> str:
    """The config's text.

    Args:
        found: What is known of the data.
        pretrained: Weights to start from; None starts from scratch, and says how not to.
        device: 'cpu' or 'cuda', for the batch.
    """
    stats = found.statistics
    assert stats is not None
    used = [found.headers[i] for i in found.usable]
    windows = found.wants_windows
    sides = [min(header.height, header.width) for header in used]
    size, patch, why_size = size_and_patch(sides, windows)
    images = round(len(used) * found.total / max(1, len(found.paths)))
    if windows:
        images = max(images, round(float(found.areas.sum()) / size**2))
    recipe = recipe_for(images)
    far = found.channels not in (1, 3)
    if far:
        recipe = recipe._replace(why=_FAR.format(found.channels))
    arch = recipe.arch if pretrained else recipe.scratch
    official = arch in ('base', 'large')
    batch = min(256 if device != 'cpu' else 32, max(4, images // 4))
    repeats = max(1, -(-batch * 20 // images))
    options = dict(
        scale=(1.0, 2.0) if windows else (0.2, 1.0), channels=found.channels, **found.options
    )
    options['channels'] = 'channels'
    options = {n: v if n == 'channels' else repr(v) for n, v in options.items()}
    parts = []
    for number, dataset in enumerate(found.datasets, 1):
        part = {name: repr(value) for name, value in dataset.items()}
        if windows:
            part |= dict(type=repr('mae_plugin.WindowFolder'), window='img_size')
        else:
            part['labels'] = 'False'
            if 'data_root' in part and any(header.format == 'Zarr' for header in used):
                part['extensions'] = "('.zarr',)"
        parts.append((f'part_{number}' if len(found.datasets) > 1 else 'images', part))
    pages = Environment(loader=PackageLoader('mae_plugin.cli', '.'), keep_trailing_newline=True)
    pages.filters['comment'] = _wrapped
    text = pages.get_template('data_config.py.j2').render(
        images=images,
        what='windows' if windows else 'images',
        names=', '.join(os.path.basename(os.path.abspath(root)) for root in found.roots),
        run=run_name(found.roots),
        size=size,
        patch=patch,
        why_size=why_size,
        channels=found.channels,
        why_channels=_why_channels(found),
        recipe=recipe,
        error='all pixels' if stats.exact else f'{stats.images:,} images',
        mean=numbers(stats.mean),
        std=numbers(np.maximum(stats.std, 1e-6)),
        arch=arch,
        dims=ARCHS[arch].embed_dims,
        decoder=(512, 8, 16) if official else (256, 4, 8),
        why_decoder=_OFFICIAL_DECODER if official else _SMALL_DECODER,
        pretrained=_weights(pretrained),
        weights=WEIGHTS[recipe.arch],
        far=far,
        why_loader=_why_loader(found, windows),
        loader='LoadRandomWindow' if windows else 'LoadRandomResizedCrop',
        options=options,
        parts=parts,
        batch=batch,
        workers=min(8, os.cpu_count() or 1),
        repeats=repeats,
        epochs=max(1, recipe.epochs // repeats),
        warmup=max(1, min(40, recipe.epochs // 10) // repeats),
        bands={1: None, 3: None, 2: [0, 0, 0]}.get(found.channels, [3, 2, 1]),
    )
    return text.rstrip() + '\n'


def run_name(roots: Sequence[str]) -> str:
    """A name for the run: of the folders, where theirs say more than 'images'."""
    names = []
    for path in map(os.path.abspath, roots[:3]):
        name = os.path.splitext(os.path.basename(path))[0]
        if name.lower() in _GENERAL:
            name = f'{os.path.basename(os.path.dirname(path))}-{name}'
        names.append(re.sub(r'[^\w-]+', '_', name).strip('_-'))
    return '-'.join(filter(None, names))[:60] or 'images'


def _weights(pretrained: str | None) -> str:
    """What ``load_from`` is set to, as Python."""
    if not pretrained:
        return ''
    return repr(pretrained if is_name(pretrained) else os.path.abspath(pretrained))


_FAR = (
    '{} channels are far from photographs: from scratch, for as long as so many images allow; '
    'weights of three channels have their patch projection resized'
)
_OFFICIAL_DECODER = "the paper's decoder (table 1), which the official weights have"
_SMALL_DECODER = "half of the paper's decoder, for a small encoder"


def _wrapped(text: str) -> str:
    """Text as a comment of lines of at most 97 letters; the first '# ' is there already."""
    lines, line = [], ''
    for word in (text[:1].upper() + text[1:] + '.').split():
        if len(line) + len(word) > 94:
            lines.append(line)
            line = ''
        line = f'{line} {word}'.strip()
    return '\n# '.join([*lines, line])


def _why_channels(found: Inspection) -> str:
    kinds = sorted({found.headers[i].channels for i in found.usable})
    return f'the files have {", ".join(map(str, kinds))} channels'


def _why_loader(found: Inspection, windows: bool) -> str:
    reasons = [
        'windows of 1 to 2 times the size at native resolution, in proportion to area: most of '
        'the area is in large images, of which only the tiles of a window are read'
        if windows
        else "crops of 20% to 100% of the area (MAE, table 1e, 'rand size')"
    ]
    if 'keep_depth' in found.options:
        reasons.append(
            f'keep_depth, because most files have 16 bits (values up to about {found.peak:,.0f})'
        )
    if 'value_range' in found.options:
        low, high = found.options['value_range']
        reasons.append(
            f'values from {low:g} to {high:g}, at the percentiles that were asked for, become 0 '
            'to 255, what lies outside is cut off'
        )
    if 'nodata' in found.options:
        reasons.append(f'nodata={found.options["nodata"]!r}, found in files that do not mark it')
    return '; '.join(reasons)
