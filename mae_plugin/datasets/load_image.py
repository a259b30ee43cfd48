"""Whole images for the pipelines of mmdet, mmseg and mmpretrain, decoded as in pretraining."""

from collections.abc import Sequence
from logging import WARNING
from typing import Any

import numpy as np
from mmengine import fileio

from mae_plugin.datasets.decoding.decode import MAX_BYTES, ImageSource, check_bands
from mae_plugin.datasets.decoding.depth import check_value_range
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.depth_warning import DepthWarning
from mae_plugin.logs import log
from mae_plugin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage:
    """Stands where mmcv's ``LoadImageFromFile`` does, for bands, grey, 16 bits and ``.npy``.

    Every file becomes what the encoder saw of it in pretraining, by the rules of
    :mod:`mae_plugin.datasets.decoding.decode`: ``dict(type='mae_plugin.LoadImage', channels=12)``.

    Three channels are given in reverse, BGR for colours, because the hosts' preprocessors expect
    what OpenCV reads: their ``bgr_to_rgb=True`` (mmpretrain: ``to_rgb=True``) restores the order
    of the file. One channel and more than three stay in that order and want
    ``bgr_to_rgb=False``.

    Args:
        channels: C of the result.
        to_float32: Make uint8 float32 too. All other types become float32 anyway: resizing and
            torch do not take them all.
        background: Grey value behind transparent pixels.
        max_bytes: Images that decode to more are refused.
        ignore_empty: Log a file that cannot be used and give None, for which a host's dataset
            draws another image in training. By default it is an error.
        backend_args: mmengine's, for files that are not on a local disk.
        keep_depth: Whether 16 bits stay, as in pretraining; see
            :class:`~mae_plugin.datasets.crop_loader.CropLoader`.
        nodata: Value that means no data in files that do not say so.
        bands: Numbers of the bands to take, from 0, in that order; as many as ``channels``.
        value_range: The values that become 0 and 255, of files of more than 8 bits.
    """

    def __init__(
        self,
        channels: int = 3,
        to_float32: bool = False,
        background: int = 255,
        max_bytes: int = MAX_BYTES,
        ignore_empty: bool = False,
        backend_args: dict | None = None,
        keep_depth: bool | None = None,
        nodata: float | str | None = None,
        bands: Sequence[int] | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        check_bands(bands, channels)
        check_value_range(value_range, keep_depth)
        self.channels = channels
        self.to_float32 = to_float32
        self.options: dict[str, Any] = dict(
            background=background,
            max_bytes=max_bytes,
            keep_depth=keep_depth,
            nodata=nodata,
            bands=bands,
            value_range=value_range,
        )
        self.depth_warning = DepthWarning()
        self.ignore_empty = ignore_empty
        self.backend_args = backend_args

    def __call__(self, results: dict) -> dict | None:
        """Read ``img_path`` and fill ``img``, ``img_shape`` and ``ori_shape``.

        Args:
            results: With ``img_path``.

        Returns:
            ``results``, where ``img`` is (H, W, channels), uint8 or float32, and the shapes are
            (H, W), upright; None for an unusable file with ``ignore_empty``.

        Raises:
            BadImageError: If the file is damaged or has other channels; it names the file.
            OSError: If the file cannot be read.
        """
        path = results['img_path']
        try:
            pixels = self._decode(path)
        except (BadImageError, OSError) as error:
            if not self.ignore_empty:
                if isinstance(error, BadImageError):
                    raise BadImageError(f'{path}: {error}') from error
                raise
            log(f'skipped {path}: {error}', WARNING)
            return None
        results['img'] = pixels
        results['img_shape'] = results['ori_shape'] = pixels.shape[:2]
        return results

    def _decode(self, path: str) -> np.ndarray:
        is_local = self.backend_args is None and '://' not in str(path)
        source = path if is_local else fileio.get(path, self.backend_args)
        image = ImageSource(source, self.channels, **self.options)
        image.name = str(path)
        decoded = image.read()
        self.depth_warning.check(image, decoded)
        pixels = image.convert(decoded)
        if self.channels == 3:
            pixels = pixels[..., ::-1]
        keeps_bytes = pixels.dtype == np.uint8 and not self.to_float32
        # Mapped files are read-only arrays of a class of their own; hosts write into images.
        return np.require(pixels, np.uint8 if keeps_bytes else np.float32, ['C', 'W', 'E'])
