"""Windows of large images at their own resolution."""

import numpy as np

from mae_plugin.datasets.color_jitter import ColorJitter
from mae_plugin.datasets.crop_loader import CropLoader
from mae_plugin.datasets.crops import Box, resize
from mae_plugin.datasets.decoding.encoded_image import MissingDataError
from mae_plugin.datasets.decoding.nodata import MAX_SHARE
from mae_plugin.errors import UserError
from mae_plugin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadRandomWindow(CropLoader):
    """A window of an image in its native resolution, without reading the rest of it.

    Of TIFF (tiles or strips, BigTIFF, GeoTIFF, COG, slides as far as tifffile knows them),
    ``.npy`` and Zarr only what holds the window is read; other formats are decoded whole, up to
    ``max_bytes``. Every position within the image is equally likely. With
    :class:`~mae_plugin.datasets.window_folder.WindowFolder`, large images give more windows.

    Args:
        size (int | tuple[int, int]): Height and width of the result, or both.
        scale (tuple[float, float]): Least and greatest side of the window, as multiples of
            ``size``, drawn uniformly: 1 is native resolution, 2 half of it. A window is never
            larger than the image.
        flip_prob (float): Probability of a horizontal flip.
        color_jitter (dict, optional): Arguments of :class:`ColorJitter`.
        max_nodata (float): A window of which a larger share is missing is drawn anew. What is
            missing in the others gets the mean of its band over the window.
        attempts (int): After so many windows the image counts as unusable.
        kwargs: The rest of :class:`CropLoader`.

    Raises:
        UserError: If ``scale``, ``flip_prob``, ``max_nodata`` or ``attempts`` is out of range.
    """

    windows = True

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        scale: tuple[float, float] = (1.0, 2.0),
        flip_prob: float = 0.5,
        color_jitter: dict | None = None,
        max_nodata: float = MAX_SHARE,
        attempts: int = 20,
        **kwargs,
    ) -> None:
        super().__init__(size, **kwargs)
        if not 0 < scale[0] <= scale[1]:
            raise UserError(f'scale={scale} must be two rising positive numbers')
        if not (0 <= flip_prob <= 1 and 0 <= max_nodata <= 1 and attempts >= 1):
            raise UserError(
                f'flip_prob={flip_prob} and max_nodata={max_nodata} must lie in [0, 1], '
                f'attempts={attempts} be at least 1'
            )
        self.scale = scale
        self.flip_prob = flip_prob
        self.jitter = None if color_jitter is None else ColorJitter(**color_jitter)
        self.max_nodata = max_nodata
        self.attempts = attempts

    def __call__(self, results: dict) -> dict:
        """Fill ``img``, ``crop_boxes`` and ``ori_shape``."""
        rng, image = results['rng'], self.open(results)
        for attempt in range(self.attempts):
            box = random_window(rng, image.height, image.width, self.size, self.scale)
            try:
                stored = image.read_window(*box, self.max_nodata)
                pixels = image.convert(stored)
            except MissingDataError:
                if attempt == self.attempts - 1:
                    raise
            else:
                break
        self.depth_warning.check(image, stored)
        flip = rng.random() < self.flip_prob
        results['img'] = [resize(pixels, self.size, self.interpolation, flip, self.exact)]
        results['crop_boxes'] = [box]
        return results if self.jitter is None else self.jitter(results)


def random_window(
    rng: np.random.Generator,
    height: int,
    width: int,
    size: tuple[int, int],
    scale: tuple[float, float],
) -> Box:
    """Draw a window of the shape of ``size``, at each of its positions with equal probability.

    Args:
        rng (np.random.Generator): Source of randomness.
        height (int): Height of the image.
        width (int): Width of the image.
        size (tuple[int, int]): Height and width at scale 1.
        scale (tuple[float, float]): Least and greatest multiple of it, as far as it fits.

    Returns:
        tuple[int, int, int, int]: Top, left, height and width.
    """
    drawn = scale[0] + (scale[1] - scale[0]) * rng.random()
    drawn = min(drawn, height / size[0], width / size[1])
    h = min(height, max(1, round(size[0] * drawn)))
    w = min(width, max(1, round(size[1] * drawn)))
    return int(rng.random() * (height - h + 1)), int(rng.random() * (width - w + 1)), h, w
