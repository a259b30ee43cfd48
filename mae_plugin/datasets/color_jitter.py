"""Random brightness, contrast, saturation and hue, as torchvision draws them."""

import cv2
import numpy as np
import torch

from mae_plugin.errors import UserError
from mae_plugin.registry import TRANSFORMS

_LUMA = np.array([0.299, 0.587, 0.114])


@TRANSFORMS.register_module()
class ColorJitter:
    """Changes the colours of uint8 images: Table 1e's "crop + color jit".

    The four changes come in random order; their factors are uniform in ``[max(0, 1 - x), 1 + x]``,
    the hue's shift in ``[-hue, hue]`` turns. Grey images get brightness and contrast alone.

    Args:
        brightness (float): Strength; 0 leaves it.
        contrast (float): Strength; 0 leaves it.
        saturation (float): Strength; 0 leaves it.
        hue (float): Strength, at most 0.5; 0 leaves it.

    Raises:
        UserError: If a strength is negative or ``hue`` is above 0.5.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
    ) -> None:
        if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
            raise UserError(
                f'brightness={brightness}, contrast={contrast}, saturation={saturation}, '
                f'hue={hue}: strengths are at least 0, hue at most 0.5'
            )
        self.strengths = brightness, contrast, saturation
        self.hue = hue

    def __call__(self, results: dict) -> dict:
        """Change every image of ``results['img']``, a list of (C, H, W) uint8 tensors."""
        rng = results['rng']
        jittered = [self.jitter(image.numpy(), rng) for image in results['img']]
        results['img'] = [torch.from_numpy(image) for image in jittered]
        return results

    def jitter(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one image: (C, H, W) uint8 -> the same.

        Raises:
            UserError: If it is not uint8 with 1 or 3 channels.
        """
        if image.dtype != np.uint8 or image.shape[0] not in (1, 3):
            raise UserError(
                f'ColorJitter takes uint8 images of 1 or 3 channels, not {image.dtype} of shape '
                f'{image.shape}; leave it out of the pipeline'
            )
        factors = [rng.uniform(max(0.0, 1 - s), 1 + s) for s in self.strengths]
        shift = rng.uniform(-self.hue, self.hue)
        for change in rng.permutation(4):
            if change == 0 and self.strengths[0]:
                image = adjust_brightness(image, factors[0])
            elif change == 1 and self.strengths[1]:
                image = adjust_contrast(image, factors[1])
            elif change == 2 and self.strengths[2] and len(image) == 3:
                image = adjust_saturation(image, factors[2])
            elif change == 3 and self.hue and len(image) == 3:
                image = adjust_hue(image, shift)
        return image


def adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale the values of a (C, H, W) uint8 image."""
    return _lookup(image, np.arange(256) * factor)


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance from the mean grey of a (C, H, W) uint8 image."""
    means = image.reshape(len(image), -1).mean(1)
    grey = np.floor((means @ _LUMA if len(image) == 3 else means[0]) + 0.5)
    return _lookup(image, grey + (np.arange(256) - grey) * factor)


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance from its own grey of every pixel of a (3, H, W) uint8 image."""
    grey = np.rint(np.tensordot(_LUMA.astype(np.float32), image.astype(np.float32), 1))
    mixed = grey + (image - grey) * np.float32(factor)
    return mixed.clip(0, 255).astype(np.uint8)


def adjust_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turn the hue of a (3, H, W) uint8 image by ``shift`` turns, in 256 steps."""
    hsv = cv2.cvtColor(np.ascontiguousarray(image.transpose(1, 2, 0)), cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(shift * 255) % 256)
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def _lookup(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    return table.clip(0, 255).astype(np.uint8)[image]
