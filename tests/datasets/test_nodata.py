"""Pixels without data get their band's mean before resizing, by GDAL's tag or by name."""

import io

import numpy as np
import pytest
import tifffile
from photos import encode, photo

from mae_plugin.datasets import LoadImage, LoadRandomResizedCrop, LoadResizeCenterCrop
from mae_plugin.datasets.decoding.decode import ImageSource, decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError


def tiff(pixels: np.ndarray, nodata: str | None = None, **options) -> bytes:
    if pixels.shape[2] > 1:
        options['planarconfig'] = 'contig'
    tags = [] if nodata is None else [(42113, 's', 0, nodata, True)]
    buffer = io.BytesIO()
    options = dict(photometric='minisblack') | options
    tifffile.imwrite(buffer, np.squeeze(pixels), extratags=tags, **options)
    return buffer.getvalue()


def npy(pixels: np.ndarray, _: str | None = None) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def scene(dtype, channels=4, seed=0) -> np.ndarray:
    return (100 + np.random.default_rng(seed).random((40, 60, channels)) * 50).astype(dtype)


def filled(pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Every band's mean where it is missing, in a loop."""
    expected = pixels.astype(np.float64)
    for band in range(pixels.shape[2]):
        lost = missing[..., band]
        values = [expected[y, x, band] for y, x in np.ndindex(lost.shape) if not lost[y, x]]
        expected[..., band][lost] = sum(values) / len(values)
    return expected


MARKS = [
    (np.float32, '-9999'),
    (np.float32, '-3.4028234663852886e+38'),
    (np.float32, 'nan'),
    (np.float64, '1e+20'),
    (np.int16, '-32768'),
    (np.int32, '-9999.0'),
]


@pytest.mark.parametrize('channels', [1, 4, 12])
@pytest.mark.parametrize(('dtype', 'mark'), MARKS)
def test_marked_values_become_their_bands_mean(dtype, mark, channels):
    pixels = scene(dtype, channels)
    missing = np.zeros(pixels.shape, bool)
    missing[:10] = missing[20:23, 5:9, 0] = True
    pixels[missing] = float(mark)
    found = decode(tiff(pixels, mark), channels)
    assert found.dtype == pixels.dtype
    tolerance = 0.5 if np.issubdtype(dtype, np.integer) else 1e-3
    assert np.abs(found - filled(pixels, missing)).max() <= tolerance
    # What the file does not say, the config may.
    for data in (tiff(pixels), npy(pixels)):
        np.testing.assert_array_equal(decode(data, channels, nodata=mark), found)


@pytest.mark.parametrize(('dtype', 'mark'), MARKS)
def test_crops_stay_within_the_range_of_the_data(dtype, mark):
    pixels = scene(dtype, 3)
    pixels[:12] = float(mark)
    load = LoadRandomResizedCrop(32)
    for seed in range(10):
        (crop,) = load(dict(img_bytes=tiff(pixels, mark), rng=np.random.default_rng(seed)))['img']
        # Bicubic interpolation overshoots a little.
        assert crop.min() > 80 and crop.max() < 170


@pytest.mark.parametrize('photometric', ['rgb', 'minisblack'])
def test_black_is_missing_only_where_all_bands_are(photometric):
    pixels = scene(np.uint8, 3)
    pixels[:10] = 0
    pixels[20, 20, 0] = 0  # a dark red
    missing = np.zeros(pixels.shape, bool)
    missing[:10] = True
    found = decode(tiff(pixels, '0', photometric=photometric))
    assert np.abs(found - filled(pixels, missing)).max() <= 0.5
    assert found[20, 20, 0] == 0


def test_a_mask_of_booleans_has_no_mark():
    assert decode(npy(scene(np.uint8, 1) > 120), 1, nodata=0).any()


def test_what_cannot_be_in_the_file_is_no_mark():
    pixels = scene(np.uint8, 3)
    for mark in ('-9999', 'nan', '3.5', 'none'):
        np.testing.assert_array_equal(decode(tiff(pixels, mark, photometric='rgb')), pixels)
    image = encode(photo(20, 20).quantize(8), 'TIFF', tiffinfo={42113: '0'})
    np.testing.assert_array_equal(decode(image), decode(encode(photo(20, 20).quantize(8), 'TIFF')))


def test_the_files_own_mark_goes_before_the_configs():
    pixels = scene(np.int16, 1)
    pixels[:5], pixels[5:10] = -1, -2
    found = decode(tiff(pixels, '-1'), 1, nodata=-2)
    assert (found[5:10] == -2).all() and (found[:5] > 0).all()


def test_sixteen_bits_are_filled_before_they_are_rounded():
    pixels = scene(np.uint16, 1) * 257
    pixels[:10] = 65535
    missing = np.zeros(pixels.shape, bool)
    missing[:10] = True
    found = decode(tiff(pixels, '65535'), 1)
    assert np.abs(found - filled(pixels, missing) / 257).max() <= 0.51


@pytest.mark.parametrize('load', [LoadResizeCenterCrop(16, channels=4), LoadImage(channels=4)])
def test_mostly_missing_is_a_bad_image(load, tmp_path):
    path = tmp_path / 'a.tif'
    pixels = scene(np.float32)
    for rows, usable in ((20, True), (21, False)):
        pixels[:rows] = -9999
        path.write_bytes(tiff(pixels, '-9999'))
        if usable:
            load(dict(img_path=str(path)))
        else:
            with pytest.raises(BadImageError, match=r'52% of its values are nodata \(-9999\)'):
                load(dict(img_path=str(path)))


def test_a_band_without_any_data_is_zero():
    pixels = scene(np.float32)
    pixels[..., 2] = -9999
    assert (decode(tiff(pixels, '-9999'), 4)[..., 2] == 0).all()


def test_other_unusable_values_are_refused_as_before():
    pixels = scene(np.float32)
    pixels[3, 3, 1], pixels[4, 4, 1] = -9999, np.inf
    image = ImageSource(tiff(pixels, '-9999'), 4)
    with pytest.raises(BadImageError, match=r'1 of the 9600 values .* nodata='):
        image.convert(image.read())


def test_a_mapped_array_is_not_written_to(tmp_path):
    pixels = scene(np.int16)
    pixels[:5] = -32768
    np.save(tmp_path / 'a.npy', pixels)
    assert decode(tmp_path / 'a.npy', 4, nodata=-32768).min() >= 100
    np.testing.assert_array_equal(np.load(tmp_path / 'a.npy'), pixels)
