"""Decode, crop, resize and flip in one step.

Each transform reads ``results['img_bytes']`` or ``results['img_path']`` and leaves
``results['img']``, a list of (C, H, W) tensors (one per crop), with ``crop_boxes`` beside it. All
randomness comes from ``results['rng']``, which the datasets derive from (seed, pass, index).
"""

from mae_plugin.datasets.color_jitter import ColorJitter
from mae_plugin.datasets.crop_loader import CropLoader
from mae_plugin.datasets.crops import random_resized_box
from mae_plugin.errors import UserError
from mae_plugin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadRandomResizedCrop(CropLoader):
    """MAE's augmentation: a random-resized crop and a flip, decoded no larger than needed.

    The crop is drawn by torchvision's law from the header's size (Table 1e, "rand size").

    Args:
        size (int | tuple[int, int]): Height and width of the result, or both.
        scale (tuple[float, float]): Least and greatest area fraction of the crop.
        ratio (tuple[float, float], optional): Least and greatest aspect ratio (width / height)
            of the crop. None takes torchvision's 3/4 and 4/3 relative to the result's own shape,
            that is times its width / height, so that nothing is stretched by more than a third.
        interpolation (str): 'bicubic' or 'bilinear', both antialiased.
        flip_prob (float): Probability of a horizontal flip.
        exact (bool): As in :class:`CropLoader`.
        channels (int): Channels of the result.
        color_jitter (dict, optional): Arguments of :class:`ColorJitter`.
        repeats (int): Crops per decoded image (repeated augmentation, Hoffer et al. 2020). A
            batch then holds ``batch_size * repeats`` images; scale the learning rate by that.
        kwargs: ``background``, ``max_bytes``, ``keep_depth``, ``nodata`` and ``bands`` of
            :class:`CropLoader`.

    Raises:
        UserError: If ``repeats``, ``scale``, ``ratio`` or ``flip_prob`` is out of range.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] | None = None,
        interpolation: str = 'bicubic',
        flip_prob: float = 0.5,
        exact: bool = False,
        channels: int = 3,
        color_jitter: dict | None = None,
        repeats: int = 1,
        **kwargs,
    ) -> None:
        super().__init__(size, interpolation, exact, channels, **kwargs)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(f'scale={scale} must be two rising fractions in (0, 1]')
        if ratio is None:
            shape = self.size[1] / self.size[0]
            ratio = 3 / 4 * shape, 4 / 3 * shape
        if not 0 < ratio[0] <= ratio[1]:
            raise UserError(f'ratio={ratio} must be two rising positive numbers')
        _check_probability(flip_prob)
        if repeats < 1:
            raise UserError(f'repeats={repeats} must be at least 1')
        self.scale = scale
        self.ratio = ratio
        self.flip_prob = flip_prob
        self.jitter = None if color_jitter is None else ColorJitter(**color_jitter)
        self.repeats = repeats

    def __call__(self, results: dict) -> dict:
        """Fill ``img``, ``crop_boxes`` and ``ori_shape``."""
        rng, image = results['rng'], self.open(results)
        boxes = [
            random_resized_box(rng, image.height, image.width, self.scale, self.ratio)
            for _ in range(self.repeats)
        ]
        flips = [rng.random() < self.flip_prob for _ in boxes]
        results['img'] = self.cut(image, boxes, self.size, flips)
        results['crop_boxes'] = boxes
        return results if self.jitter is None else self.jitter(results)


@TRANSFORMS.register_module()
class LoadFixedCrop(CropLoader):
    """Table 1e's "fixed size": short side resized to the result's, random crop, flip.

    Args:
        size (int | tuple[int, int]): Height and width of the result, or both.
        flip_prob (float): Probability of a horizontal flip.
        random (bool): False takes the centre: with ``flip_prob=0``, Table 1e's "none".
        kwargs: The rest of :class:`CropLoader`.

    Raises:
        UserError: If ``flip_prob`` is no probability.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        flip_prob: float = 0.5,
        random: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(size, **kwargs)
        _check_probability(flip_prob)
        self.flip_prob = flip_prob
        self.random = random

    def __call__(self, results: dict) -> dict:
        """Fill ``img``, ``crop_boxes`` and ``ori_shape``."""
        rng, image = results['rng'], self.open(results)
        zoom = max(self.size[0] / image.height, self.size[1] / image.width)
        height = min(image.height, max(1, round(self.size[0] / zoom)))
        width = min(image.width, max(1, round(self.size[1] / zoom)))
        y, x = (rng.random(), rng.random()) if self.random else (0.5, 0.5)
        top, left = int(y * (image.height - height + 1)), int(x * (image.width - width + 1))
        boxes = [(top, left, height, width)]
        flips = [rng.random() < self.flip_prob for _ in boxes]
        results['img'] = self.cut(image, boxes, self.size, flips)
        results['crop_boxes'] = boxes
        return results


@TRANSFORMS.register_module()
class LoadResizeCenterCrop(CropLoader):
    """Evaluation: resize the short side, then cut the centre.

    Args:
        size (int | tuple[int, int]): Height and width of the result, or both.
        resize_short (int, optional): The short side before the cut; None takes 256/224 of the
            shorter of ``size``.
        exact (bool): As in :class:`CropLoader`. Defaults to True here.
        kwargs: The rest of :class:`CropLoader`.

    Raises:
        UserError: If ``resize_short`` is shorter than the cut.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        resize_short: int | None = None,
        exact: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(size, exact=exact, **kwargs)
        self.resize_short = resize_short or round(min(self.size) * 256 / 224)
        if self.resize_short < min(self.size):
            raise UserError(
                f'resize_short={self.resize_short} is shorter than size={self.size}; raise it'
            )

    def __call__(self, results: dict) -> dict:
        """Fill ``img``, ``crop_boxes`` (of the resized image) and ``ori_shape``."""
        image = self.open(results)
        zoom = max(
            self.resize_short / min(image.height, image.width),
            self.size[0] / image.height,
            self.size[1] / image.width,
        )
        height = max(self.size[0], int(image.height * zoom))
        width = max(self.size[1], int(image.width * zoom))
        (whole,) = self.cut(image, [(0, 0, image.height, image.width)], (height, width))
        top, left = round((height - self.size[0]) / 2), round((width - self.size[1]) / 2)
        crop = whole[:, top : top + self.size[0], left : left + self.size[1]]
        results['img'] = [crop.contiguous()]
        results['crop_boxes'] = [(top, left, *self.size)]
        return results


def _check_probability(value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f'flip_prob={value} must lie in [0, 1]')
