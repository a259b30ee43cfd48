"""Parts of large TIFFs: only the strips or tiles that hold them are read and decoded."""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tifffile

from mae_plugin.errors import UserError
from mae_plugin.files import open_to_read, read_at

Window = Callable[[int, int, int, int], np.ndarray]
"""``window(top, left, height, width)`` gives (height, width, C) of the pixels as stored."""

MAX_SEGMENT = 1 << 26  # bytes of one decoded strip or tile; more are no longer a part


def tiff_window(path: str, series: tifffile.TiffPageSeries, byte_order: str) -> Window | None:
    """A reader of parts of a series, which opens the file anew for each.

    Args:
        path (str): Of the file.
        series (TiffPageSeries): Of an open file, which may be closed afterwards.
        byte_order (str): '<' or '>', of the file.

    Returns:
        Callable, optional: None if parts cannot be read alone: a volume, or a single compressed
            strip of more than :data:`MAX_SEGMENT` bytes.
    """
    if series.dataoffset is not None:
        return _mapped(path, series, byte_order)
    page: Any = series.keyframe
    if page.imagedepth != 1 or (page.is_subsampled and page.compression not in (6, 7)):
        return None
    rows, columns = page.rowsperstrip, page.imagewidth
    if page.is_tiled:
        rows, columns = page.tilelength, page.tilewidth
    rows = min(rows, page.imagelength) if not page.is_tiled else rows
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    samples = page.samplesperpixel // planes
    if min(rows, columns) < 1 or rows * columns * samples * page.dtype.itemsize > MAX_SEGMENT:
        return None
    return _Segments(path, series, rows, columns, planes, samples).read


def _mapped(path: str, series: tifffile.TiffPageSeries, byte_order: str) -> Window:
    """Of data that lie in the file as they are, in one piece."""
    axes, shape, offset = series.axes, series.shape, int(series.dataoffset or 0)
    dtype = np.dtype(series.dtype).newbyteorder(byte_order)  # type: ignore[arg-type]
    bands = next((i for i, axis in enumerate(axes) if axis not in 'YX'), None)

    def read(top: int, left: int, height: int, width: int) -> np.ndarray:
        pixels: np.ndarray = np.memmap(path, dtype, 'r', offset, shape)
        pixels = pixels[..., None] if bands is None else np.moveaxis(pixels, bands, -1)
        window = pixels[top : top + height, left : left + width]
        return np.array(window, dtype.newbyteorder('='), order='C')

    return read


class _Segments:
    """The strips or tiles of a series, whose pages (or planes) are bands.

    Args:
        path: Of the file.
        series: Of the open file.
        rows: Height of a strip or tile.
        columns: Its width.
        planes: Planes of a page, stored one after the other.
        samples: Bands that are stored pixel by pixel.
    """

    def __init__(
        self,
        path: str,
        series: tifffile.TiffPageSeries,
        rows: int,
        columns: int,
        planes: int,
        samples: int,
    ) -> None:
        key: Any = series.keyframe
        self.path, self.rows, self.columns = path, rows, columns
        self.planes, self.samples = planes, samples
        self.down = math.ceil(key.imagelength / rows)
        self.across = math.ceil(key.imagewidth / columns)
        self.decode, self.dtype, self.empty = key.decode, key.dtype, key.nodata
        self.header = key.jpegheader
        self.pages = [
            (
                np.array(page.dataoffsets, np.int64),
                np.array(page.databytecounts, np.int64),
                page.jpegtables if key.compression in (6, 7, 33007, 34892) else None,
            )
            for page in series.pages
            if page is not None
        ]

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """The (height, width, C) pixels whose first is (top, left)."""
        bands = len(self.pages) * self.planes * self.samples
        window = np.empty((height, width, bands), self.dtype)
        file = open_to_read(self.path)
        try:
            for number in range(len(self.pages) * self.planes):
                page, plane = divmod(number, self.planes)
                part = window[..., number * self.samples : (number + 1) * self.samples]
                for row in range(top // self.rows, -(-(top + height) // self.rows)):
                    for column in range(left // self.columns, -(-(left + width) // self.columns)):
                        index = (plane * self.down + row) * self.across + column
                        segment = self._segment(file, page, index)
                        y, x = row * self.rows - top, column * self.columns - left
                        _paste(part, segment, y, x, self.rows, self.columns)
        finally:
            os.close(file)
        return window

    def _segment(self, file: int, page: int, index: int) -> Any:
        """Pixels of one strip or tile, (rows, columns, samples), or the value that fills it."""
        offsets, counts, tables = self.pages[page]
        if index >= len(counts) or not counts[index]:
            return self.empty
        data = read_at(file, int(counts[index]), int(offsets[index]))
        if len(data) < counts[index]:
            raise UserError('it ends before the data of its last tiles')
        jpeg = {} if tables is None and self.header is None else dict(jpegtables=tables)
        if self.header is not None:
            jpeg['jpegheader'] = self.header
        pixels = self.decode(data, index, **jpeg)[0]
        return self.empty if pixels is None else pixels[0]


def _paste(part: np.ndarray, segment: Any, y: int, x: int, rows: int, columns: int) -> None:
    """Put a segment, whose first pixel is at (y, x) of ``part``, where they overlap."""
    top, left = max(0, y), max(0, x)
    target = part[top : y + rows, left : x + columns]
    if np.ndim(segment):
        segment = segment[top - y :, left - x :][: target.shape[0], : target.shape[1]]
    target[...] = segment
