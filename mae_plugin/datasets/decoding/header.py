"""What a file's header says of its image, read without its pixels."""

import os
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image

from mae_plugin.datasets.decoding.arrays import open_npy
from mae_plugin.datasets.decoding.avif import is_brand_box, open_avif
from mae_plugin.datasets.decoding.dicom import is_dicom
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.decoding.open_image import TIFF_MAGIC
from mae_plugin.datasets.decoding.zarr_arrays import is_zarr, open_zarr

_CHANNELS = {'1': 1, 'L': 1, 'I': 1, 'F': 1, 'LA': 2, 'La': 2, 'RGBA': 4, 'RGBa': 4, 'PA': 4}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type


class Header(NamedTuple):
    """A file's header.

    Attributes:
        format: 'JPEG', 'PNG', 'TIFF' ...
        height, width: Size as displayed, after EXIF orientation.
        channels: Of what is decoded: colours for a palette, alpha included.
        dtype: Of the values as stored, NumPy's name.
        nodata: The value that the file names for missing data.
        parts: Whether windows of it are read alone.
        reason: Why the file is unusable; '' for a sound header.
    """

    format: str
    height: int
    width: int
    channels: int
    dtype: str
    nodata: float | None = None
    parts: bool = False
    reason: str = ''


def read_header(path: str) -> Header:
    """Read one file's header; a file that has none is told in ``reason``, never raised."""
    try:
        return _read(path)
    except Exception as error:  # each parser stumbles in its own way
        reason = ' '.join(str(error).split()) or repr(error)
        kind = os.path.splitext(path)[1].lstrip('.').upper() or 'file'
        return Header(kind, 0, 0, 0, '', reason=reason)


def _read(path: str) -> Header:
    if os.path.isdir(path):
        if not is_zarr(path):
            raise BadImageError('a folder that is no Zarr')
        raw = open_zarr(path, None)
        assert raw.window is not None
        dtype = raw.window(0, 0, 1, 1).dtype.name
        return Header('Zarr', raw.height, raw.width, raw.channels, dtype, parts=True)
    with open(path, 'rb', buffering=0) as file:
        head = file.read(132)
    if not head:
        raise BadImageError('empty file')
    if head.startswith(TIFF_MAGIC):
        return _tiff(path)
    if head.startswith(b'\x93NUMPY'):
        raw = open_npy(path, None)
        dtype = raw.read(1, False).dtype.name
        return Header('npy', raw.height, raw.width, raw.channels, dtype, parts=True)
    if is_dicom(head):
        return _dicom(path)
    if is_brand_box(head):
        open_avif(head)  # refuses HEIC, and says what to do
    with Image.open(path) as image:
        return _picture(image, head)


def _picture(image: Image.Image, head: bytes) -> Header:
    width, height = image.size
    orientation = image.getexif().get(274, 1) if image.format != 'PNG' or image.info else 1
    if orientation >= 5:
        height, width = width, height
    channels, dtype = _CHANNELS.get(image.mode, 3), 'uint8'
    if image.mode.startswith(('I', 'F')):
        channels, dtype = 1, 'float32' if image.mode == 'F' else 'uint16'
    if image.format == 'PNG' and head[12:16] == b'IHDR':
        channels = _PNG_CHANNELS.get(head[25], channels)
        dtype = 'uint16' if head[24] == 16 else 'uint8'
    if 'transparency' in image.info and channels in (1, 3):
        channels = 4
    return Header(image.format or '', height, width, channels, dtype)


def _tiff(path: str) -> Header:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page: Any = file.pages.first
        axes, shape = series.axes, series.shape
        if len(axes) not in (2, 3) or 'X' not in axes or 'Y' not in axes:
            raise BadImageError(f'TIFF with axes {axes} of shape {shape} is not one image')
        height, width = shape[axes.index('Y')], shape[axes.index('X')]
        channels = int(np.prod(shape)) // (height * width)
        if page.photometric in (3, 5):  # a palette, CMYK
            channels = 3
        if int(page.tags.valueof(274, 1)) >= 5:
            height, width = width, height
        text = None if page.photometric == 3 else page.tags.valueof(42113)
        try:
            nodata = None if text is None else float(text)
        except ValueError:
            nodata = None
        dtype = np.dtype(series.dtype).name
        return Header('TIFF', height, width, channels, dtype, nodata, parts=True)


def _dicom(path: str) -> Header:
    import pydicom

    file = pydicom.dcmread(path, stop_before_pixels=True)
    if int(file.get('NumberOfFrames') or 1) != 1:
        raise BadImageError(f'DICOM of {file.NumberOfFrames} frames: save each as a file')
    kind = f'{"u" * (file.PixelRepresentation == 0)}int{file.BitsAllocated}'
    grey = str(file.PhotometricInterpretation).startswith('MONOCHROME')
    return Header('DICOM', int(file.Rows), int(file.Columns), 1 if grey else 3, kind)
