"""The crop of official linear probing, for mmpretrain's pipelines."""

import numpy as np

from mae_plugin.datasets.crops import clipped_box, resize
from mae_plugin.errors import UserError
from mae_plugin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomClippedCrop:
    """Stands where mmpretrain's ``RandomResizedCrop`` does; draws once and clips to the image.

    The resize is antialiased: Pillow's arithmetic for uint8. Random numbers come from NumPy's
    global generator, as those of mmpretrain's transforms do.

    Args:
        scale: Height and width of the result, or both.
        crop_ratio_range: Least and greatest area fraction, before clipping.
        aspect_ratio_range: Least and greatest aspect ratio (width / height), before clipping.
        interpolation: 'bicubic' or 'bilinear'.

    Raises:
        UserError: If a range is not of two rising positive numbers.
    """

    def __init__(
        self,
        scale: int | tuple[int, int],
        crop_ratio_range: tuple[float, float] = (0.08, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
    ) -> None:
        self.size = (scale, scale) if isinstance(scale, int) else (int(scale[0]), int(scale[1]))
        for name, (low, high) in dict(
            crop_ratio_range=crop_ratio_range, aspect_ratio_range=aspect_ratio_range
        ).items():
            if not 0 < low <= high:
                raise UserError(f'{name}=({low}, {high}) must be two rising positive numbers')
        self.crop_ratio_range = crop_ratio_range
        self.aspect_ratio_range = aspect_ratio_range
        self.interpolation = interpolation

    def __call__(self, results: dict) -> dict:
        """Crop ``img``, (H, W, C), and set ``img_shape``."""
        image = results['img']
        top, left, height, width = clipped_box(
            np.random,
            image.shape[0],
            image.shape[1],
            self.crop_ratio_range,
            self.aspect_ratio_range,
        )
        crop = np.ascontiguousarray(image[top : top + height, left : left + width])
        resized = resize(crop, self.size, self.interpolation, exact=True)
        results['img'] = np.ascontiguousarray(resized.permute(1, 2, 0).numpy())
        results['img_shape'] = self.size
        return results
