"""Images that are there twice: the same bytes, or the same picture in other bytes."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mae_plugin.datasets.decoding.decode import ImageSource
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.decoding.nodata import MAX_SHARE

_SIDE, _KEPT, _THUMB = 32, 8, 16
MAX_BITS = 12  # of 63 that may differ
MIN_CORRELATION = 0.95  # of the thumbnails
_FLAT = 2.0  # grey levels: a picture with less contrast has no print
_BLOCK = 1 << 21  # pairs that are compared at once
_REDUCED = 1024  # pixels of a side, to about which large pictures are reduced first
_BAND = 1 << 22  # pixels that are read at once
_AREAS = (np.uint8, np.uint16, np.float32)  # that OpenCV averages


class Print(NamedTuple):
    """What tells a picture.

    Attributes:
        bits: Signs of its 63 lowest frequencies, as a uint64; 0 of a flat or unreadable one.
        thumb: 16 x 16 grey, normalised to mean 0 and length 1, float32; None likewise.
    """

    bits: int
    thumb: np.ndarray | None


def _flip_masks() -> np.ndarray:
    """The bits that change when a picture is mirrored left-right, upside down, or both."""
    rows, columns = np.indices((_KEPT, _KEPT)) % 2
    kinds = (np.zeros_like(rows), columns, rows, (rows + columns) % 2)
    return np.array([_pack(kind.astype(bool)) for kind in kinds], np.uint64)


def _pack(signs: np.ndarray) -> int:
    return int(np.packbits(signs.ravel()).view('>u8')[0])


def picture_print(path: str, options: dict) -> Print:
    """The perceptual hash of a file (Zauner 2010): signs of its cosine transform at 32 x 32.

    Args:
        path: The file.
        options: Of :class:`ImageSource`, but for the channels.
    """
    try:
        image = ImageSource(path, None, windows=True, **options)
        pixels = _in_bands(image) if image.in_parts else _whole(image)
    except (BadImageError, OSError):
        return Print(0, None)
    values = pixels.astype(np.float32)
    if values.shape[2] in (2, 4) and pixels.dtype == np.uint8:
        values = values[..., :-1]
    grey = values.mean(-1)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    span = float(small.max() - small.min())
    if not np.isfinite(span) or span == 0 or (pixels.dtype == np.uint8 and small.std() < _FLAT):
        return Print(0, None)
    small = (small - small.mean()) / small.std()
    signs = cv2.dct(small)[:_KEPT, :_KEPT] > 0
    signs[0, 0] = False
    thumb = cv2.resize(small, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    thumb = thumb - thumb.mean()
    return Print(_pack(signs), thumb / np.linalg.norm(thumb))


def _whole(image: ImageSource) -> np.ndarray:
    """All of it, at a scale at which a JPEG is cheaply decoded."""
    shrunk = min(image.max_scale, max(1, min(image.height, image.width) // (4 * _SIDE)))
    scale = max(factor for factor in (1, 2, 4, 8) if factor <= shrunk)
    return _reduced(image.convert(image.read(scale)))


def _in_bands(image: ImageSource) -> np.ndarray:
    """All of it, in bands that are reduced one after the other: a scan takes gigabytes."""
    zoom = max(1, max(image.height, image.width) // _REDUCED)
    step = zoom * max(1, _BAND // (zoom * max(1, image.width)))
    # A band of a large image may be empty, a whole image is not to be.
    max_nodata = MAX_SHARE if step >= image.height else 1.0
    bands = []
    for top in range(0, image.height, step):
        rows = min(step, image.height - top)
        band = image.convert(image.read_window(top, 0, rows, image.width, max_nodata))
        bands.append(_reduced(band, zoom))
    return np.concatenate(bands)


def _reduced(pixels: np.ndarray, zoom: int | None = None) -> np.ndarray:
    """Averages of ``zoom`` by ``zoom`` pixels; by default as many as leave a long side of 1024.

    Before it becomes float: a large picture would take four times its memory.
    """
    height, width = pixels.shape[:2]
    zoom = zoom or max(1, max(height, width) // _REDUCED)
    if zoom == 1:
        return pixels
    if pixels.shape[2] > 4 or pixels.dtype not in _AREAS:
        pixels = pixels.mean(2, dtype=np.float32, keepdims=True)
    size = max(1, round(width / zoom)), max(1, round(height / zoom))
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return pixels.reshape(*pixels.shape[:2], -1)


def near_duplicates(
    prints: Sequence[Print], progress: Callable[[int], None] = lambda done: None
) -> list[list[int]]:
    """Groups of pictures that are the same but for size, compression or mirroring.

    Prints that differ in at most 12 of 63 bits, in one of the four mirrorings, are candidates;
    thumbnails that correlate by 0.95 decide. All pairs are compared: 20,000 pictures take some
    seconds, and four times that for twice as many.

    Args:
        prints: Of the pictures.
        progress: Told how many are compared with all others, now and then.
    """
    kept = [i for i, print_ in enumerate(prints) if print_.thumb is not None]
    bits = np.array([prints[i].bits for i in kept], np.uint64)
    pairs: list[tuple[int, int]] = []
    masks = _flip_masks()
    begin = 0
    while begin < len(kept):
        block = max(1, _BLOCK // (len(kept) - begin))
        rows = bits[begin : begin + block]
        rest = bits[begin:]
        for flip, mask in enumerate(masks):
            differing = _count_bits((rows ^ mask)[:, None] ^ rest[None])
            for row, column in np.argwhere(differing <= MAX_BITS):
                if column <= row:
                    continue
                first, second = prints[kept[begin + row]], prints[kept[begin + column]]
                if _correlation(first, second, flip) >= MIN_CORRELATION:
                    pairs.append((kept[begin + row], kept[begin + column]))
        begin += block
        progress(min(begin, len(kept)))
    return groups(pairs)


def _count_bits(values: np.ndarray) -> np.ndarray:
    """Bits that are set in each uint64 (NumPy 1 has no function for it)."""
    values = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    values = (values & pairs) + ((values >> np.uint64(2)) & pairs)
    values = (values + (values >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (values * np.uint64(0x0101010101010101)) >> np.uint64(56)


def _correlation(first: Print, second: Print, flip: int) -> float:
    assert first.thumb is not None and second.thumb is not None
    other = second.thumb
    if flip in (1, 3):
        other = other[:, ::-1]
    if flip in (2, 3):
        other = other[::-1]
    return float((first.thumb * other).sum())


def groups(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Sets of numbers that pairs tie together, each sorted, in the order of their first."""
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        parent.setdefault(number, number)
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for first, second in pairs:
        parent[root(second)] = root(first)
    found = defaultdict(list)
    for number in sorted(parent):
        found[root(number)].append(number)
    return sorted(found.values())


def file_digest(path: str) -> bytes:
    """A hash of a file's bytes; b'' if it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, 'rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return b''
    return digest.digest()
