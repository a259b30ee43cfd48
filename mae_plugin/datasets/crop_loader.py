"""From a file and some boxes in it to crops of one size."""

from collections.abc import Sequence
from typing import Any

import torch

from mae_plugin.datasets.crops import Box, align, decode_scale, resize
from mae_plugin.datasets.decoding.decode import MAX_BYTES, ImageSource, check_bands
from mae_plugin.datasets.decoding.depth import check_value_range
from mae_plugin.datasets.depth_warning import DepthWarning
from mae_plugin.errors import UserError

_INTERPOLATIONS = ('bicubic', 'bilinear')


class CropLoader:
    """What the loading transforms share: options of decoding, and cutting boxes from a file.

    Args:
        size (int | tuple[int, int]): Height and width of the result, or both.
        interpolation (str): 'bicubic' or 'bilinear', both antialiased.
        exact (bool): Decode at full size and resize by Pillow's arithmetic. Otherwise a JPEG is
            decoded at 1/2, 1/4 or 1/8 where the crop stays at least as large as the result, and
            torch resizes: 2 to 4 times faster. So is a JPEG that is beyond ``max_bytes`` at full
            size.
        channels (int): Channels of the result; see :mod:`mae_plugin.datasets.decoding.decode`.
        background (int): Grey value behind transparent pixels.
        max_bytes (int): Images that decode to more are refused.
        keep_depth (bool, optional): Whether 16 bits stay, with ``mean`` and ``std`` in their
            units: True for scans, satellite bands and the like. By default pictures of up to four
            channels become 8 bits.
        nodata (float | str, optional): Value that means no data in files that do not say so;
            such pixels get their band's mean.
        bands (Sequence[int], optional): Numbers of the bands to take, from 0, in that order; as
            many as ``channels``.
        value_range (Sequence[float], optional): The values that become 0 and 255, of files of more
            than 8 bits; what lies outside is cut off.

    Raises:
        UserError: If ``size`` is not positive, ``interpolation`` unknown, or ``bands`` are not
            ``channels`` numbers.
    """

    windows = False  # whether only parts of an image are read

    def __init__(
        self,
        size: int | tuple[int, int],
        interpolation: str = 'bicubic',
        exact: bool = False,
        channels: int = 3,
        background: int = 255,
        max_bytes: int = MAX_BYTES,
        keep_depth: bool | None = None,
        nodata: float | str | None = None,
        bands: Sequence[int] | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        check_bands(bands, channels)
        check_value_range(value_range, keep_depth)
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if min(self.size) < 1:
            raise UserError(f'size={size} must be positive')
        if interpolation not in _INTERPOLATIONS:
            raise UserError(f'interpolation={interpolation!r} must be one of {_INTERPOLATIONS}')
        self.interpolation = interpolation
        self.exact = exact
        self.channels = channels
        self.options: dict[str, Any] = dict(
            background=background,
            max_bytes=max_bytes,
            keep_depth=keep_depth,
            nodata=nodata,
            bands=bands,
            value_range=value_range,
        )
        self.depth_warning = DepthWarning()

    def open(self, results: dict) -> ImageSource:
        """Read the header of the image that ``results`` names, and note its size."""
        source = results.get('img_bytes')
        source = results['img_path'] if source is None else source
        image = ImageSource(source, self.channels, windows=self.windows, **self.options)
        image.name = results.get('img_path', image.name)
        results['ori_shape'] = image.height, image.width
        return image

    def cut(
        self,
        image: ImageSource,
        boxes: list[Box],
        size: tuple[int, int],
        flips: list[bool] | None = None,
    ) -> list[torch.Tensor]:
        """Decode once, then resize and maybe mirror each box: a list of (C, *size) tensors.

        ``boxes`` is changed in place to what was cut: a JPEG's boxes get edges at multiples of
        the decoding scale (by at most half a pixel of the result), with or without ``exact``,
        so that both cut the same pixels.
        """
        scale = min(decode_scale(box, size, image.max_scale) for box in boxes)
        boxes[:] = [align(box, scale, image.height, image.width) for box in boxes]
        if self.exact:
            scale = next((s for s in (1, 2, 4, 8) if s <= scale and image.fits(s)), scale)
        pixels = image.read(scale)
        self.depth_warning.check(image, pixels)
        crops = []
        for box, flip in zip(boxes, flips or [False] * len(boxes), strict=True):
            top, left, height, width = (edge // scale for edge in box)
            crop = image.convert(pixels[top : top + height, left : left + width])
            crops.append(resize(crop, size, self.interpolation, flip, self.exact))
        return crops
