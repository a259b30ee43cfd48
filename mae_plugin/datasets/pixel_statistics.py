"""Mean and standard deviation per channel, in the scale of the preprocessor."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mae_plugin.datasets.crops import Box
from mae_plugin.datasets.decoding.decode import ImageSource
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.decoding.nodata import is_usable

BLOCK = 1024  # pixels; large images are read in squares of this side
_BLOCKS = 16  # of a large image that are sampled
_FILLS = (-9999.0, -32768.0, -32767.0, -999.0, -3.4028234663852886e38)
_FEW = 64  # images before an error is stated


class ImageSums(NamedTuple):
    """What one image adds.

    Attributes:
        counts: Valid values of each channel, as many as the whole image has by its sample, (C,).
        means, squares: Mean of the values and of their squares, (C,) float64.
        peak: The brightest value of 99.9% as stored, for 16 bits.
        fill: A value that fills pixels without being marked: 'nan', -9999 ...
        reason: Why the image cannot be used; '' if it can.
    """

    counts: np.ndarray
    means: np.ndarray
    squares: np.ndarray
    peak: float = 0.0
    fill: str = ''
    reason: str = ''


def image_sums(path: str, channels: int, whole: bool, options: dict[str, Any]) -> ImageSums:
    """Sums of one image, after decoding as training does; missing values have no say.

    Args:
        path: The file.
        channels: Channels of the model.
        whole: Whether all pixels of a large image count, or some squares of it.
        options: The rest of :class:`ImageSource`.
    """
    none = np.zeros(channels)
    try:
        image = ImageSource(path, channels, windows=True, **options)
        boxes = list(_boxes(image.height, image.width, whole, path))
        counts, sums, squares, peak, fill = none.copy(), none.copy(), none.copy(), 0.0, ''
        for box in boxes:
            stored = image.read_window(*box, max_nodata=1.0)
            peak = max(peak, float(np.quantile(stored[::7, ::7], 0.999)) if stored.size else 0.0)
            fill = fill or _fill(stored, image.mark)
            values, valid = _values(image, stored, fill)
            counts += valid.sum((0, 1))
            sums += values.sum((0, 1), where=valid)
            squares += np.square(values).sum((0, 1), where=valid)
    except (BadImageError, OSError) as error:
        return ImageSums(none, none, none, reason=' '.join(str(error).split()))
    if not counts.all():
        return ImageSums(none, none, none, fill=fill, reason='no valid value in it')
    read = sum(box[2] * box[3] for box in boxes)
    scale = image.height * image.width / read
    return ImageSums(counts * scale, sums / counts, squares / counts, peak, fill)


def value_sample(path: str, channels: int, options: dict[str, Any], count: int) -> np.ndarray:
    """Some values of an image as stored, for their percentiles; none where it cannot be read.

    Args:
        path: The file.
        channels: Channels of the model.
        options: The rest of :class:`ImageSource`, without ``value_range``.
        count: At most as many, evenly spaced; missing values are left out.
    """
    try:
        image = ImageSource(path, channels, windows=True, **options)
        parts = []
        for box in _boxes(image.height, image.width, False, path):
            stored = image.read_window(*box, max_nodata=1.0)
            mark = image.mark if image.mark is not None else _fill(stored, None)
            valid = np.ones(stored.shape, bool)
            if mark not in (None, ''):
                valid &= ~image.missing(stored, float(mark))
            if stored.dtype.kind == 'f':
                valid &= is_usable(stored)
            parts.append(stored[valid])
    except (BadImageError, OSError):
        return np.zeros(0)
    values = np.concatenate(parts) if parts[0].dtype != np.uint8 else np.zeros(0)
    return values[:: max(1, len(values) // count)][:count].astype(np.float64)


def _boxes(height: int, width: int, whole: bool, path: str) -> Iterator[Box]:
    """Squares that cover an image, or some of them, the same for a path each time."""
    places = [
        (top, left, min(BLOCK, height - top), min(BLOCK, width - left))
        for top in range(0, height, BLOCK)
        for left in range(0, width, BLOCK)
    ]
    if height * width <= 4 * BLOCK * BLOCK:
        yield 0, 0, height, width
    elif whole or len(places) <= _BLOCKS:
        yield from places
    else:
        rng = np.random.default_rng(sum(path.encode('utf-8', 'surrogateescape')))
        yield from (places[i] for i in rng.choice(len(places), _BLOCKS, replace=False))


def _values(image: ImageSource, stored: np.ndarray, fill: str) -> tuple[np.ndarray, np.ndarray]:
    """Values that training sees, float64 (H, W, C), and which of them are none of a fill."""
    mark = image.mark if image.mark is not None else (float(fill) if fill else None)
    missing: Any = np.zeros((1, 1, 1), bool)
    if mark is not None:
        missing = image.missing(stored, mark)
    if stored.dtype.kind == 'f':
        missing = missing | ~is_usable(stored)
        stored = np.where(missing, 0, stored).astype(stored.dtype)
    values = image.convert(stored).astype(np.float64)
    if missing.shape[2] not in (1, values.shape[2]):
        missing = missing.any(-1, keepdims=True)
    return values, np.broadcast_to(~missing, values.shape)


def _fill(stored: np.ndarray, mark: float | None) -> str:
    """A well-known value that stands for missing data, where the file names none."""
    if mark is not None or stored.dtype.kind not in 'fi':
        return ''
    if stored.dtype.kind == 'f' and np.isnan(stored).any():
        return 'nan'
    low = float(stored.min())
    found = low in _FILLS and np.mean(stored == stored.min()) > 1e-3
    return f'{low:g}' if found and low > -1e38 else (repr(low) if found else '')


class Statistics(NamedTuple):
    """Of all images.

    Attributes:
        mean, std: Per channel, (C,).
        error: Twice the standard error of either as a share of std (of mean, where larger).
        images: How many were read.
        exact: Whether that is all of them, whole.
    """

    mean: np.ndarray
    std: np.ndarray
    error: float
    images: int
    exact: bool


def combine(sums: Sequence[ImageSums], total: int, whole: bool) -> Statistics:
    """Statistics of all pixels of all images from those of some (a ratio estimate).

    Args:
        sums: Of the usable images that were read.
        total: Images that there are.
        whole: Whether each was read in all its pixels.

    Returns:
        Statistics: With an error of 0 if nothing was left out, inf of too few images.
    """
    counts = np.stack([image.counts for image in sums])
    means = np.stack([image.means for image in sums])
    squares = np.stack([image.squares for image in sums])
    weights = counts / counts.sum(0)
    mean, square = (weights * means).sum(0), (weights * squares).sum(0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    if len(sums) >= total:
        return Statistics(mean, std, 0.0, len(sums), whole)
    if len(sums) < _FEW:
        return Statistics(mean, std, float('inf'), len(sums), False)
    left = 1 - len(sums) / total
    safe = np.maximum(std, 1e-12)
    spread = (squares - square) - 2 * mean * (means - mean)
    mean_error = np.sqrt(left * (weights**2 * (means - mean) ** 2).sum(0))
    std_error = np.sqrt(left * (weights**2 * spread**2).sum(0)) / (2 * safe)
    error = np.maximum(mean_error / np.maximum(np.abs(mean), safe), std_error / safe)
    return Statistics(mean, std, float(2 * error.max()), len(sums), False)
