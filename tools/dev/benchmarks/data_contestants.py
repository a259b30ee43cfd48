"""The input pipelines that the data benchmark compares, and the images it compares them on."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mae_plugin.datasets.decoding.decode import ImageSource, decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.packing import PackInputs
from mae_plugin.datasets.randomness import sample_key, sample_rng
from mae_plugin.datasets.transforms import LoadRandomResizedCrop
from mae_plugin.errors import UserError

PHOTOS = ('astronaut', 'chelsea', 'coffee', 'rocket', 'retina', 'immunohistochemistry')


def make_photos(folder: Path, size: tuple[int, int], count: int) -> list[str]:
    """Crop and save scikit-image's photographs as JPEGs of quality 90.

    Args:
        folder: Where to.
        size: Width and height.
        count: How many files; crops of each photograph in turn.

    Returns:
        Paths.
    """
    import skimage.data

    rng = np.random.default_rng(0)
    sources = [Image.fromarray(getattr(skimage.data, name)()[..., :3]) for name in PHOTOS]
    paths = []
    for number in range(count):
        image = sources[number % len(sources)]
        width = rng.uniform(0.6, 1.0) * min(image.width, image.height * size[0] / size[1])
        height = width * size[1] / size[0]
        left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
        box = (left, top, left + width, top + height)
        path = folder / f'{number:04d}.jpg'
        image.resize(size, Image.Resampling.BICUBIC, box=box).save(path, quality=90)
        paths.append(str(path))
    return paths


def ours(size: tuple[int, int], **options) -> Callable[[str, int], dict]:
    """This project's pipeline as the datasets run it: ``(path, number) -> packed sample``.

    Args:
        size: Height and width of a crop.
        options: Others of :class:`LoadRandomResizedCrop`.
    """
    load, pack = LoadRandomResizedCrop(size, **options), PackInputs()

    def run(path: str, number: int) -> dict:
        results = dict(
            img_path=path, rng=sample_rng(0, 0, number), sample_key=sample_key(0, 0, number)
        )
        return pack(load(results))

    return run


def decode_alone(channels: int) -> Callable[[str, int], dict]:
    """This project's decoder on whole images: what no pipeline can pass."""

    def run(path: str, number: int) -> dict:
        return dict(inputs=ImageSource(path, channels).read())

    return run


def readable(paths: Sequence[str], channels: int) -> list[str]:
    """The images that have so many channels; a benchmark names the others and goes on.

    Raises:
        UserError: If there is none.
    """
    good = []
    for path in paths:
        try:
            decode(path, channels)
        except (BadImageError, OSError) as error:
            print(f'left out: {path}: {error}')
        else:
            good.append(path)
    if not good:
        raise UserError(
            f'none of {len(paths)} images can be used with --channels {channels}: see above, and '
            f'give yours with --data-root'
        )
    return good


def mmpretrain_installed() -> bool:
    """Whether the peer is there."""
    return importlib.util.find_spec('mmpretrain') is not None


def mmpretrain(size: tuple[int, int], mended: bool) -> Callable[[str, int], dict]:
    """The pipeline of mmpretrain's MAE config (imagenet_bs512_mae.py).

    Args:
        size: Height and width of a crop, whose shape the aspect ratios follow, as ours do.
        mended: Make the crop contiguous before Pillow converts it, one line that halves the
            pipeline's time.
    """
    from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

    keep_torchvision_importable()
    import mmcv
    from mmcv.transforms import LoadImageFromFile
    from mmpretrain.datasets.transforms import PackInputs, RandomFlip, RandomResizedCrop

    class Mended(RandomResizedCrop):
        """Their transform with the one line."""

        def transform(self, results: dict) -> dict:
            """Crop, make contiguous, resize."""
            top, left, height, width = self.rand_crop_params(results['img'])
            crop = np.ascontiguousarray(results['img'][top : top + height, left : left + width])
            results['img'] = mmcv.imresize(
                crop, self.scale[::-1], interpolation=self.interpolation, backend=self.backend
            )
            results['img_shape'] = results['img'].shape
            return results

    crop = Mended if mended else RandomResizedCrop
    steps = [
        LoadImageFromFile(),
        crop(
            scale=size,
            crop_ratio_range=(0.2, 1.0),
            aspect_ratio_range=(3 / 4 * size[1] / size[0], 4 / 3 * size[1] / size[0]),
            backend='pillow',
            interpolation='bicubic',
        ),
        RandomFlip(prob=0.5),
        PackInputs(),
    ]

    def run(path: str, number: int) -> dict:
        results = dict(img_path=path)
        for step in steps:
            results = step(results)
        return results

    return run


def quality(paths: Sequence[str], size: tuple[int, int]) -> dict[str, float]:
    """How far our crops are from exact ones, and exact ones from Pillow's.

    Returns:
        PSNR of the quick crops (median and worst 5%, dB), and the exact crops' greatest and mean
        difference from decode + crop + antialiased bicubic by Pillow.
    """
    quick, exact = ours(size, flip_prob=0), ours(size, flip_prob=0, exact=True)
    psnr, greatest, mean = [], 0, 0.0
    for number, path in enumerate(paths):
        sample = exact(path, number)
        pixels = sample['inputs'].numpy().transpose(1, 2, 0).astype(float)
        error = quick(path, number)['inputs'].numpy().transpose(1, 2, 0) - pixels
        psnr.append(10 * np.log10(255**2 / max((error**2).mean(), 1e-6)))
        top, left, height, width = sample['data_samples'].crop_box
        upright = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
        crop = upright.crop((left, top, left + width, top + height))
        crop = crop.resize(size[::-1], Image.Resampling.BICUBIC)
        difference = np.abs(pixels - np.asarray(crop))
        greatest, mean = max(greatest, int(difference.max())), max(mean, difference.mean())
    return dict(
        median=float(np.median(psnr)),
        worst=float(np.percentile(psnr, 5)),
        greatest=greatest,
        mean=float(mean),
    )


def temporary_folder() -> tempfile.TemporaryDirectory:
    """A folder for images and shards, removed when done."""
    return tempfile.TemporaryDirectory(prefix='mae-benchmark-')
