"""DICOM: one frame, by its own rescale, and for eyes by its window."""

import io
from typing import Any

import numpy as np

from mae_plugin.datasets.decoding.encoded_image import BadImageError, EncodedImage
from mae_plugin.errors import UserError


def is_dicom(data: bytes) -> bool:
    """Whether a file begins as DICOM does: a preamble of 128 bytes, then its name."""
    return data[128:132] == b'DICM'


def open_dicom(data: bytes, keep_depth: bool | None) -> EncodedImage:
    """Read the header of a DICOM image.

    Grey ones get their rescale (slope and intercept: Hounsfield units in CT), and MONOCHROME1 is
    turned so that more is brighter. As other pictures they become 8 bits, from black to white of
    the window in the file (of the whole range where there is none); ``keep_depth=True`` gives the
    rescaled values as float32. Padding counts as nodata then.

    Raises:
        BadImageError: If it is damaged, holds several frames or no image.
        UserError: If pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UserError(
            "DICOM needs the package pydicom: pip install 'mae_plugin[raster]'"
        ) from error
    try:
        file: Any = pydicom.dcmread(io.BytesIO(data))
        if int(file.get('NumberOfFrames') or 1) != 1:
            raise BadImageError(f'DICOM of {file.NumberOfFrames} frames: save each as a file')
        height, width, samples = int(file.Rows), int(file.Columns), int(file.SamplesPerPixel)
        bits = int(file.BitsAllocated)
        padding = file.get('PixelPaddingValue')
        slope = float(file.get('RescaleSlope') or 1)
        intercept = float(file.get('RescaleIntercept') or 0)
    except BadImageError:
        raise
    except Exception as error:  # a damaged header raises whatever the parser stumbles over
        raise BadImageError(f'not a readable DICOM image ({error})') from error
    grey = samples == 1 and str(file.get('PhotometricInterpretation')).startswith('MONOCHROME')
    keeps = grey and keep_depth is True
    nodata = float(padding) * slope + intercept if keeps and padding is not None else None
    return EncodedImage(
        height, width, 1 if grey else 3, lambda *_: _read(file, keeps, slope, intercept),
        itemsize=4 if grey else max(1, bits // 8), picture=not keeps, alpha=False, nodata=nodata,
    )  # fmt: skip


def _read(file: Any, keeps: bool, slope: float, intercept: float) -> np.ndarray:
    from pydicom.pixels import apply_voi_lut, convert_color_space

    try:
        pixels = file.pixel_array
        kind = str(file.PhotometricInterpretation)
        if kind == 'PALETTE COLOR':
            from pydicom.pixels import apply_color_lut

            pixels = apply_color_lut(pixels, file)
            return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
        if pixels.ndim == 3:
            return convert_color_space(pixels, kind, 'RGB') if kind.startswith('YBR') else pixels
        values = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        if keeps:
            return values[..., None]
        if 'WindowCenter' in file or 'VOILUTSequence' in file:
            values = apply_voi_lut(values.astype(np.float64), file).astype(np.float32)
    except Exception as error:  # a damaged file raises whatever its codec raises
        raise BadImageError(f'damaged DICOM ({error})') from error
    low, high = _shown_range(file, values, slope, intercept)
    grey = np.clip((values - low) * (255 / (high - low)), 0, 255)
    if kind == 'MONOCHROME1':
        grey = 255 - grey
    return np.rint(grey).astype(np.uint8)[..., None]


def _shown_range(
    file: Any, values: np.ndarray, slope: float, intercept: float
) -> tuple[float, float]:
    """Black and white: the limits of what the window gives, or the image's own range."""
    if 'WindowCenter' in file:
        bits, signed = int(file.BitsStored), int(file.PixelRepresentation)
        least = -(1 << (bits - 1)) if signed else 0
        ends = least * slope + intercept, (least + (1 << bits) - 1) * slope + intercept
        return min(ends), max(ends)
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1
