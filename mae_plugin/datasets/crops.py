"""Crop boxes, and the resize that makes images of them."""

import math
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from mae_plugin.compat import as_uint16

Box = tuple[int, int, int, int]
"""A crop as (top, left, height, width)."""


class SupportsRandom(Protocol):
    """What draws uniform numbers from [0, 1)."""

    def random(self) -> float:
        """The next number."""


def random_resized_box(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """Draw a crop by torchvision's law for ``RandomResizedCrop``.

    Up to ten times an area fraction is drawn uniformly from ``scale`` and an aspect ratio
    (width / height) log-uniformly from ``ratio``, and the first box that fits is placed
    uniformly; then the largest central box whose aspect ratio lies within ``ratio`` is taken.

    Args:
        rng (np.random.Generator): Source of randomness.
        height (int): Height of the image.
        width (int): Width of the image.
        scale (tuple[float, float]): Least and greatest area fraction.
        ratio (tuple[float, float]): Least and greatest aspect ratio.

    Returns:
        tuple[int, int, int, int]: Top, left, height and width.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * rng.random())
        aspect = math.exp(low + (high - low) * rng.random())
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.random() * (height - h + 1)), int(rng.random() * (width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - h) // 2, (width - w) // 2, h, w


def clipped_box(
    rng: SupportsRandom,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """Draw a crop by the law of MAE's official linear probing (its ``util/crop.py``).

    Area and aspect ratio are drawn once, as :func:`random_resized_box` draws them; a side that is
    longer than the image's is cut to it, and the box is placed uniformly. Such crops are larger
    than torchvision's, and more of them are wider or higher than ``ratio`` allows.

    Args:
        rng (SupportsRandom): Source of randomness: a NumPy generator, or ``numpy.random``.
        height (int): Height of the image.
        width (int): Width of the image.
        scale (tuple[float, float]): Least and greatest area fraction.
        ratio (tuple[float, float]): Least and greatest aspect ratio.

    Returns:
        tuple[int, int, int, int]: Top, left, height and width.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    area = height * width * (scale[0] + (scale[1] - scale[0]) * rng.random())
    aspect = math.exp(low + (high - low) * rng.random())
    w = min(width, max(1, round(math.sqrt(area * aspect))))
    h = min(height, max(1, round(math.sqrt(area / aspect))))
    return int(rng.random() * (height - h + 1)), int(rng.random() * (width - w + 1)), h, w


def decode_scale(box: Box, size: tuple[int, int], limit: int) -> int:
    """The largest of 1, 2, 4, 8 within ``limit`` at which a crop still holds ``size`` pixels."""
    room = min(limit, max(1, box[2] / size[0]), max(1, box[3] / size[1]))
    return max(factor for factor in (1, 2, 4, 8) if factor <= room)


def align(box: Box, factor: int, height: int, width: int) -> Box:
    """Move a crop's edges to multiples of ``factor``, each by half of it at most where it fits.

    Then the crop is made of whole pixels of an image decoded at ``1 / factor``. Where the crop is
    at least ``factor`` times its target, that is at most half a pixel of the target.
    """
    if factor == 1:
        return box
    top, left, bottom, right = (
        factor * min(round(edge / factor), total // factor)
        for edge, total in (
            (box[0], height),
            (box[1], width),
            (box[0] + box[2], height),
            (box[1] + box[3], width),
        )
    )
    return top, left, bottom - top, right - left


def resize(
    pixels: np.ndarray,
    size: tuple[int, int],
    interpolation: str,
    flip: bool = False,
    exact: bool = False,
) -> torch.Tensor:
    """Antialiased resize.

    torch's uint8 kernels agree with Pillow's to 1 or 2 (mean below 0.01) where both run over the
    rows first. Pillow 13 begins with the columns where that is cheaper, and then its rounding in
    between differs by up to 5 at sharp edges; ``exact`` takes Pillow's own code, at four times
    the price.

    Args:
        pixels (np.ndarray): (h, w, C) contiguous, any number dtype. uint8 of up to four channels
            takes torch's vector kernels.
        size (tuple[int, int]): Height and width of the result.
        interpolation (str): 'bicubic' or 'bilinear'.
        flip (bool): Mirror left and right.
        exact (bool): For uint8, Pillow's arithmetic.

    Returns:
        Tensor: (C, H, W) contiguous: uint8 and uint16 stay, everything else gives float32; before
            torch 2.3 so does uint16.
    """
    dtype = pixels.dtype
    if exact and dtype == np.uint8 and pixels.shape[:2] != size:
        pixels = _pillow_resize(pixels, size, interpolation)
    tensor = torch.from_numpy(pixels if dtype == np.uint8 else pixels.astype(np.float32))
    tensor = tensor.permute(2, 0, 1).unsqueeze(0)
    if pixels.shape[:2] != size:
        tensor = F.interpolate(tensor, size=size, mode=interpolation, antialias=True)
    if flip:
        tensor = tensor.flip(-1)
    if dtype == np.uint16:
        tensor = as_uint16(tensor.round_().clamp_(0, 65535))
    return tensor.squeeze(0).contiguous()


def _pillow_resize(pixels: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    method = Image.Resampling[interpolation.upper()]
    if pixels.shape[2] == 3:
        return np.array(Image.fromarray(pixels).resize(size[::-1], method))
    # Four channels would be taken for colour and alpha, and mixed.
    planes = [Image.fromarray(plane) for plane in np.moveaxis(pixels, 2, 0)]
    return np.stack([np.asarray(plane.resize(size[::-1], method)) for plane in planes], axis=2)
