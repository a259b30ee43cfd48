"""Images that are arrays: ``.npy`` files, and TIFFs of many bands or unusual depth."""

import io
import math

import numpy as np
import tifffile

from mae_plugin.datasets.pictures import open_picture
from mae_plugin.datasets.raw_image import BadImageError, RawImage


def open_npy(source: str | bytes, channels: int | None) -> RawImage:
    """Open a ``.npy`` array without unpickling; a path is mapped, so a crop reads only itself.

    Args:
        source (str | bytes): Path or contents.
        channels (int, optional): Channels wanted; tells (H, W, C) from (C, H, W).

    Raises:
        BadImageError: If it is truncated, holds objects, or is not a 2-D or 3-D number array.
        FileNotFoundError: If it vanished.
    """
    try:
        if isinstance(source, bytes):
            array = np.load(io.BytesIO(source), allow_pickle=False)
        else:
            array = np.load(source, mmap_mode='r', allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise BadImageError(f'not a readable .npy array ({error})') from error
    if array.ndim not in (2, 3) or array.dtype.kind not in 'buif' or array.size == 0:
        raise BadImageError(f'.npy of shape {array.shape} and dtype {array.dtype} is no image')
    if array.ndim == 2:
        array = array[..., None]
    elif channels not in (None, array.shape[2]) and array.shape[0] == channels:
        array = array.transpose(1, 2, 0)
    height, width, bands = array.shape
    return RawImage(
        height, width, bands, lambda scale, fast, grey: array, itemsize=0, picture=False
    )


def open_tiff(data: bytes) -> RawImage:
    """Open a TIFF: 8-bit grey, RGB and RGBA through Pillow, everything else through tifffile.

    The bands may be samples of one page or pages of one series, of any depth.

    Raises:
        BadImageError: If it is no TIFF, or its first series is not one image of some bands.
    """
    try:
        file = tifffile.TiffFile(io.BytesIO(data))
        series = file.series[0]
        axes, shape = series.axes, series.shape
        page = file.pages.first
        orientation = int(page.tags.valueof(274, 1))
        itemsize = series.dtype.itemsize
        depth = page.bitspersample
    except Exception as error:  # a damaged header raises whatever the parser stumbles over
        raise BadImageError(f'not a readable TIFF ({error})') from error
    flat = page.samplesperpixel <= 4 and axes in ('YX', 'YXS', 'SYX')
    if flat and (depth <= 8 or page.photometric not in (0, 1, 2)):
        return open_picture(data)
    if len(axes) not in (2, 3) or 'X' not in axes or 'Y' not in axes:
        raise BadImageError(f'TIFF with axes {axes} of shape {shape} is not one image')
    band_axis = next((i for i, axis in enumerate(axes) if axis not in 'YX'), None)
    height, width = shape[axes.index('Y')], shape[axes.index('X')]

    def read(scale: int, fast: bool, grey: bool) -> np.ndarray:
        try:
            pixels = series.asarray()
        except Exception as error:  # a damaged file raises whatever its codec raises
            hint = '; pip install imagecodecs' if 'imagecodecs' in str(error) else ''
            raise BadImageError(f'damaged TIFF ({error}{hint})') from error
        return pixels[..., None] if band_axis is None else np.moveaxis(pixels, band_axis, -1)

    bands = math.prod(shape) // (height * width)
    return RawImage(height, width, bands, read, itemsize, orientation, picture=bands <= 4)
