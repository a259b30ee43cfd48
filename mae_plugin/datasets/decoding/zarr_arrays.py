"""Zarr arrays and OME-Zarr images, of which a window reads the chunks that hold it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from mae_plugin.datasets.decoding.encoded_image import BadImageError, EncodedImage
from mae_plugin.errors import UserError

_METADATA = ('zarr.json', '.zarray', '.zgroup', '.zattrs')


def is_zarr(path: str) -> bool:
    """Whether a path is a folder that holds Zarr's metadata."""
    return any(os.path.isfile(os.path.join(path, name)) for name in _METADATA)


def open_zarr(path: str, channels: int | None) -> EncodedImage:
    """Open a Zarr array, or of a group the finest level (OME-Zarr) or the only array.

    Leading axes of length 1 are dropped. Of three axes, the bands are the one that is ``channels``
    long, and otherwise the shorter of the first and the last.

    Args:
        path (str): Folder of the array or group.
        channels (int, optional): Channels wanted.

    Raises:
        BadImageError: If it is damaged, would unpickle, or is no image.
        UserError: If zarr is not installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise UserError(
            f"{path} is Zarr, which needs the package zarr: pip install 'mae_plugin[raster]'"
        ) from error
    _refuse_pickles(path)
    try:
        array: Any = _array_of(zarr.open(path, mode='r'))
        shape, dtype = array.shape, np.dtype(array.dtype)
    except Exception as error:  # each of its parsers stumbles in its own way
        raise BadImageError(f'not a readable Zarr ({error})') from error
    lead = len(shape) - 3 if len(shape) > 3 else 0
    if any(side != 1 for side in shape[:lead]) or len(shape) < 2 or dtype.kind not in 'buif':
        raise BadImageError(f'Zarr of shape {shape} and dtype {dtype} is no image')
    inner = shape[lead:]
    first = len(inner) == 3 and _bands_first(inner, channels)
    height, width = inner[1:] if first else inner[:2]
    bands = 1 if len(inner) == 2 else inner[0 if first else 2]

    def window(top: int, left: int, h: int, w: int) -> np.ndarray:
        area: tuple = (slice(top, top + h), slice(left, left + w))
        place = (0,) * lead + ((slice(None), *area) if first else area)
        try:
            pixels = np.asarray(array[place])
        except Exception as error:  # a damaged chunk raises whatever its codec raises
            raise BadImageError(f'damaged Zarr ({error})') from error
        pixels = pixels.astype(pixels.dtype.newbyteorder('='), copy=False)
        return np.moveaxis(pixels, 0, -1) if first else pixels.reshape(*pixels.shape[:2], -1)

    return EncodedImage(
        height, width, bands, lambda *_: window(0, 0, height, width), dtype.itemsize,
        picture=False, alpha=False, window=window,
    )  # fmt: skip


def _array_of(node: Any) -> Any:
    """An array as it is; of a group the first array that its metadata names, or the only one."""
    if hasattr(node, 'shape'):
        return node
    attributes = dict(node.attrs)
    scales = attributes.get('multiscales') or attributes.get('ome', {}).get('multiscales')
    if scales:
        return node[scales[0]['datasets'][0]['path']]
    names = list(node.array_keys())
    if len(names) != 1:
        raise BadImageError(f'a group of {len(names)} arrays, of which none is named the image')
    return node[names[0]]


def _bands_first(shape: tuple[int, ...], channels: int | None) -> bool:
    if channels in (shape[0], shape[2]) and shape[0] != shape[2]:
        return shape[0] == channels
    return shape[0] < shape[2]


def _refuse_pickles(path: str) -> None:
    """Refuse arrays that are packed as Python objects: reading them could run code."""
    for folder, _, files in os.walk(path):
        for name in set(files) & {'zarr.json', '.zarray', '.zmetadata'}:
            try:
                text = json.dumps(json.loads(Path(folder, name).read_text('utf-8')))
            except (OSError, ValueError) as error:
                raise BadImageError(f'not a readable Zarr ({name}: {error})') from error
            if 'pickle' in text.lower():
                raise BadImageError('Zarr that is packed by pickle, which could run code')
