"""The folders of the check from end to end are what it says, and its commands are taken."""

import sys
from pathlib import Path

import pytest

from mae_plugin.datasets.decoding.header import read_header

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools/dev'))

import six_folders


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    return tmp_path_factory.mktemp('six')


@pytest.mark.slow
@pytest.mark.parametrize(
    'kind, files, bad, first',
    [
        ('photos', 33, 2, ('PNG', 3, 'uint8')),
        ('bands', 24, 0, ('TIFF', 12, 'uint16')),
        ('grey', 24, 0, ('PNG', 1, 'uint16')),
        ('dicom', 24, 0, ('DICOM', 1, 'int16')),
        ('slide', 3, 0, ('TIFF', 3, 'uint8')),
        ('classes', 30, 0, ('JPEG', 3, 'uint8')),
    ],
)
def test_a_folder(out, kind, files, bad, first):
    folder = six_folders.make(kind, out, 1500)
    paths = sorted(path for path in folder.rglob('*') if path.is_file())
    headers = {path: read_header(str(path)) for path in paths}
    assert len(paths) == files
    assert sum(bool(header.reason) for header in headers.values()) == bad
    example = headers[folder / six_folders.KINDS[kind][1]]
    assert (example.format, example.channels, example.dtype) == first
    if kind == 'bands':
        assert example.nodata == 0
    if kind == 'slide':
        assert headers[folder / 'large.tif'][1:3] == (1500, 1500)
    stamp = paths[0].stat().st_mtime_ns
    six_folders.make(kind, out, 1500)
    assert paths[0].stat().st_mtime_ns == stamp
