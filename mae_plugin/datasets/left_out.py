"""What is said of files that a folder holds and training leaves out."""

import functools
import logging

from mae_plugin.files import ARCHIVES
from mae_plugin.logs import log

_SHOWN = 8
# What to do with files that hold pictures, or may.
_WAYS_IN = {
    'convert {} to JPEG, PNG or TIFF': (
        '.heic', '.heif', '.jxl', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.raf', '.orf', '.rw2',
        '.psd', '.svg', '.pdf', '.nii', '.fits', '.exr', '.hdr', '.jls', '.tga', '.jpf',
    ),
    'unpack {}': ARCHIVES,
    'unpack {}, or read it as shards (configs/pretrain/scale_out/README.md)': ('.tar',),
    'cut {} into pictures': ('.mp4', '.mov', '.avi', '.mkv', '.webm', '.m4v'),
}  # fmt: skip


def describe(left_out: dict[str, int]) -> str:
    """How many files are left out, by suffix, and what would bring in those that hold pictures."""
    total = sum(left_out.values())
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    parts = [f'{count} {suffix or "without a suffix"}' for suffix, count in ordered[:_SHOWN]]
    if len(ordered) > _SHOWN:
        rest = sum(count for _, count in ordered[_SHOWN:])
        parts.append(f'{rest} with {len(ordered) - _SHOWN} other suffixes')
    told = f'{total} file{"s" * (total != 1)} of other kinds left out ({", ".join(parts)})'
    ways = _ways_in(left_out)
    return f'{told}; to use them, {"; ".join(ways)}' if ways else told


def tell(root: str, images: int, left_out: dict[str, int]) -> None:
    """Say once what is left out of a folder; a warning if it may be pictures."""
    if left_out:
        level = logging.WARNING if _ways_in(left_out) else logging.INFO
        _tell_once(f'{root}: {images} image{"s" * (images != 1)}, {describe(left_out)}', level)


def _ways_in(left_out: dict[str, int]) -> list[str]:
    ways = []
    for way, suffixes in _WAYS_IN.items():
        found = [suffix for suffix in suffixes if suffix in left_out]
        if found:
            ways.append(way.format(', '.join(found)))
    return ways


@functools.cache
def _tell_once(line: str, level: int) -> None:
    log(line, level=level)
