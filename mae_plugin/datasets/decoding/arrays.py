"""Images that are arrays: ``.npy`` files, and TIFFs of any bands and depth."""

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile

from mae_plugin.datasets.decoding.encoded_image import BadImageError, EncodedImage
from mae_plugin.datasets.decoding.pictures import open_picture, pillow_opens
from mae_plugin.datasets.decoding.tiff_windows import Window, tiff_window
from mae_plugin.errors import UserError

_ALPHA = ((1,), (2,))  # a TIFF's "extra samples": associated and unassociated alpha


def open_npy(source: str | bytes, channels: int | None) -> EncodedImage:
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
            array = _npy_in(source)
        else:
            array = np.load(source, mmap_mode='r', allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged header is Python source that does not parse
        raise BadImageError(f'not a readable .npy array ({error})') from error
    if array.ndim not in (2, 3) or array.dtype.kind not in 'buif' or array.size == 0:
        raise BadImageError(f'.npy of shape {array.shape} and dtype {array.dtype} is no image')
    if array.ndim == 2:
        array = array[..., None]
    elif channels not in (None, array.shape[2]) and array.shape[0] == channels:
        array = array.transpose(1, 2, 0)
    height, width, bands = array.shape
    return EncodedImage(
        height, width, bands, lambda *_: array, itemsize=0, picture=False, alpha=False,
        window=lambda top, left, h, w: array[top : top + h, left : left + w],
    )  # fmt: skip


def _npy_in(data: bytes) -> np.ndarray:
    """The array of a ``.npy`` file's contents, without a copy and whatever size it claims."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran_order, dtype = readers[version](file)
    if dtype.hasobject:
        raise UserError('an array of objects')
    order: Literal['C', 'F'] = 'F' if fortran_order else 'C'
    return np.ndarray(shape, dtype, data, offset=file.tell(), order=order)


def open_tiff(source: str | bytes) -> EncodedImage:
    """Open a TIFF: the pictures that Pillow reads whole through it, all else through tifffile.

    The bands may be samples of one page or pages of one series, of any depth. The last of them
    is alpha only where the file says so. GDAL's tag names the value of pixels without data.

    Args:
        source (str | bytes): Contents; or a path, of which only the header is read and then the
            windows asked for.

    Raises:
        BadImageError: If it is no TIFF, or its first series is not one image of some bands.
        FileNotFoundError: If it vanished.
    """
    path = None if isinstance(source, bytes) else source
    window = None
    try:
        file = tifffile.TiffFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise BadImageError(f'not a readable TIFF ({error})') from error
    try:
        series = file.series[0]
        axes, shape = series.axes, series.shape
        page = file.pages.first
        orientation = int(page.tags.valueof(274, 1))
        itemsize = series.dtype.itemsize
        flat = axes in ('YX', 'YXS', 'SYX')
        pillow = flat and _pillow_reads_all(page)
        if pillow and (path or not pillow_opens(page.imagelength, page.imagewidth)):
            pillow = not _is_plain(page)
        alpha = flat and tuple(page.extrasamples)[-1:] in _ALPHA
        # Of a palette, the tag's value is an index, gone once it is looked up.
        nodata = None if page.photometric == 3 else _number(page.tags.valueof(42113))
        bits = page.bitspersample
        if path and not pillow and len(axes) in (2, 3) and 'X' in axes and 'Y' in axes:
            window = tiff_window(path, series, file.byteorder)
    except Exception as error:  # a damaged header raises whatever the parser stumbles over
        raise BadImageError(f'not a readable TIFF ({error})') from error
    finally:
        if path:
            file.close()
    if pillow:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        return replace(open_picture(data), nodata=nodata)
    if len(axes) not in (2, 3) or 'X' not in axes or 'Y' not in axes:
        raise BadImageError(f'TIFF with axes {axes} of shape {shape} is not one image')
    band_axis = next((i for i, axis in enumerate(axes) if axis not in 'YX'), None)
    height, width = shape[axes.index('Y')], shape[axes.index('X')]

    def read(scale: int, grey: bool) -> np.ndarray:
        try:
            pixels = series.asarray() if path is None else tifffile.imread(path, series=0)
        except Exception as error:  # a damaged file raises whatever its codec raises
            hint = '; pip install imagecodecs' if 'imagecodecs' in str(error) else ''
            raise BadImageError(f'damaged TIFF ({error}{hint})') from error
        return pixels[..., None] if band_axis is None else np.moveaxis(pixels, band_axis, -1)

    bands = math.prod(shape) // (height * width)
    return EncodedImage(
        height, width, bands, read, itemsize, orientation, picture=bands <= 4, alpha=alpha,
        white=(1 << bits) - 1 if 8 < bits < 16 else 65535, nodata=nodata,
        window=None if window is None else _guarded(window),
    )  # fmt: skip


def _guarded(window: Window) -> Window:
    """A reader of parts whose errors are the image's."""

    def read(top: int, left: int, height: int, width: int) -> np.ndarray:
        try:
            return window(top, left, height, width)
        except OSError:
            raise
        except Exception as error:  # a damaged file raises whatever its codec raises
            raise BadImageError(f'damaged TIFF ({error})') from error

    return read


def _pillow_reads_all(page: tifffile.TiffPage) -> bool:
    """Whether Pillow gives every band of a page; of others it drops some, or refuses them."""
    samples = page.samplesperpixel
    if page.photometric in (5, 6, 8):  # CMYK, YCbCr, Lab
        return samples <= 4
    if page.photometric == 2:  # RGB
        whole = samples == 3 or (samples == 4 and tuple(page.extrasamples) in _ALPHA)
    else:  # grey, palette
        whole = samples == 1
    return whole and (page.bitspersample <= 8 or page.photometric == 3)


def _is_plain(page: tifffile.TiffPage) -> bool:
    """Whether tifffile's pixels are the colours: what Pillow gives, without its limit of size."""
    colours = page.photometric in (1, 2) or (page.photometric == 6 and page.compression == 7)
    return colours and page.bitspersample == 8


def _number(text: str | None) -> float | None:
    """GDAL's text for the value of pixels without data."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
