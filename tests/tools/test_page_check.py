"""What the page and the trackers are checked with; the checks: make page-check, tracker-check."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools' / 'dev'))

import tracker_check
from page import files, visit


def test_hostile_pictures_are_whole_pictures(tmp_path):
    files._write_png(tmp_path / 'black.png', 20)
    with Image.open(tmp_path / 'black.png') as image:
        assert image.size == (20, 20) and not np.asarray(image).any()


def test_a_quantile_is_one_of_the_values():
    values = [float(number) for number in range(40)]
    assert visit.quantile(values, 0.5) == 20 and visit.quantile(values, 0.95) == 38
    assert visit.quantile([3.0], 0.95) == 3


def test_what_does_not_hold_is_told():
    visit.require(True, 'never')
    with pytest.raises(visit.PageError, match='as it is'):
        visit.require(False, 'as it is')


def test_records_that_cross_blocks_are_put_together():
    """A record of 40,000 bytes does not fit into a block of 32,768."""

    def part(content: bytes, kind: int) -> bytes:
        return bytes(4) + len(content).to_bytes(2, 'little') + bytes([kind]) + content

    long = bytes(range(250)) * 160
    first = 32768 - 7 - len(part(b'short', 1)) - 7
    log = b':W&B' + bytes(3) + part(b'short', 1) + part(long[:first], 2) + part(long[first:], 4)
    assert list(tracker_check.leveldb_records(log)) == [b'short', long]


def test_curves_that_differ_are_told():
    tracker_check.check('aim', {1: 0.5, 2: 0.25}, {1: 0.5, 2: 0.25})
    with pytest.raises(tracker_check.TrackerError, match='aim'):
        tracker_check.check('aim', {1: 0.5}, {1: 0.5, 2: 0.25})
