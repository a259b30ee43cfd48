"""DICOM by its own rescale and window, against the formulas of the standard (PS3.3 C.11)."""

import numpy as np
import pydicom
import pytest

from mae_plugin.datasets.decoding.decode import ImageSource, decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.decoding.header import read_header


def write(path, stored: np.ndarray, **fields) -> None:
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    file.Rows, file.Columns = stored.shape[:2]
    file.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    file.PhotometricInterpretation = 'MONOCHROME2' if stored.ndim == 2 else 'RGB'
    if stored.ndim == 3:
        file.PlanarConfiguration = 0
    file.BitsAllocated = 8 * stored.itemsize
    file.BitsStored, file.HighBit = file.BitsAllocated, file.BitsAllocated - 1
    file.PixelRepresentation = int(stored.dtype.kind == 'i')
    file.PixelData = stored.tobytes()
    for name, value in fields.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)


def scan(dtype=np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, (40, 60)).astype(dtype)


CT = dict(RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=400, WindowWidth=1500)


def windowed(values: np.ndarray, center: float, width: float) -> np.ndarray:
    shown = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    shown = np.where(values <= center - 0.5 - (width - 1) / 2, 0, shown)
    return np.where(values > center - 0.5 + (width - 1) / 2, 255, shown)


@pytest.mark.parametrize('kind', ['MONOCHROME2', 'MONOCHROME1'])
@pytest.mark.parametrize('dtype', [np.int16, np.uint16])
def test_window_for_eyes(tmp_path, dtype, kind):
    path = tmp_path / 'a.dcm'
    write(path, scan(dtype), PhotometricInterpretation=kind, **CT)
    expected = windowed(scan().astype(float) * 2 - 1024, 400, 1500)
    if kind == 'MONOCHROME1':
        expected = 255 - expected
    found = decode(path, channels=1)
    assert found.dtype == np.uint8
    assert np.abs(found[..., 0] - expected).max() <= 0.51


def test_values_as_measured(tmp_path):
    path = tmp_path / 'a.dcm'
    write(path, scan(), PixelPaddingValue=0, **CT)
    image = ImageSource(path, channels=1, keep_depth=True)
    values = image.read()
    np.testing.assert_array_equal(values[..., 0], scan() * np.float32(2) - 1024)
    assert values.dtype == np.float32 and image.mark == -1024
    assert read_header(str(path))[:5] == ('DICOM', 40, 60, 1, 'int16')


def test_range_without_a_window_colours_and_refusals(tmp_path):
    path = tmp_path / 'a.dcm'
    write(path, scan())
    stored = scan().astype(float)
    expected = (stored - stored.min()) / (stored.max() - stored.min()) * 255
    assert np.abs(decode(path, channels=1)[..., 0] - expected).max() <= 0.51
    colours = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
    write(path, colours)
    np.testing.assert_array_equal(decode(path), colours)
    write(path, scan(), NumberOfFrames=3)
    with pytest.raises(BadImageError, match='3 frames'):
        decode(path)
    path.write_bytes(path.read_bytes()[:140])
    with pytest.raises(BadImageError, match='DICOM'):
        decode(path)
