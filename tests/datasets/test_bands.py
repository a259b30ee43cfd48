"""Arrays and TIFFs of any number of bands: taken as they are, or refused by number."""

import io

import numpy as np
import pytest
import tifffile
from photos import encode, photo
from PIL import Image

from mae_plugin.datasets import LoadImage, LoadRandomResizedCrop, LoadRandomWindow
from mae_plugin.datasets.decoding.decode import ImageSource, decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.errors import UserError


def bands(count: int, dtype=np.uint8) -> np.ndarray:
    return (np.random.default_rng(0).random((20, 30, count)) * 200).astype(dtype)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def tiff(array: np.ndarray, photometric: str = 'minisblack', **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric=photometric, **options)
    return buffer.getvalue()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('order', ['HWC', 'CHW'])
def test_npy(tmp_path, dtype, order):
    pixels = bands(12, dtype)
    path = tmp_path / 'bänder.npy'
    np.save(path, pixels if order == 'HWC' else pixels.transpose(2, 0, 1))
    for source in (path, path.read_bytes()):
        found = decode(source, channels=12)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, pixels)


def test_npy_from_disk_is_mapped_not_read(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((40, 50, 3), np.float32))
    source = ImageSource(str(tmp_path / 'a.npy'), max_bytes=1)
    base = source.read()
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('planar', ['contig', 'separate', 'pages'])
@pytest.mark.parametrize('count', [2, 3, 4, 12])
def test_tiff_of_bands(count, dtype, planar):
    pixels = bands(count, dtype)
    layout = dict() if planar == 'pages' else dict(planarconfig=planar)
    data = tiff(pixels if planar == 'contig' else pixels.transpose(2, 0, 1), **layout)
    found = decode(data, channels=count)
    if dtype == np.uint16 and count <= 4:  # a picture of 16 bits becomes one of 8
        pixels = ((pixels.astype(int) + 128) // 257).astype(np.uint8)
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize('compression', ['tiff_lzw', 'tiff_adobe_deflate'])
def test_compressed_tiff_of_sixteen_bits(compression):
    pixels = (np.random.default_rng(0).random((20, 30)) * 65535).astype(np.uint16)
    predictor = {317: 2}  # differences between neighbours, as most programs write
    data = encode(Image.fromarray(pixels), 'TIFF', compression=compression, tiffinfo=predictor)
    found = decode(data, channels=1)[..., 0]
    assert np.abs(found - pixels / 257).max() <= 0.5


@pytest.mark.parametrize('compression', ['lzw', 'zlib', 'zstd', 'packbits'])
def test_compressed_tiff_of_many_bands(compression):
    pixels = bands(12)
    data = tiff(pixels, planarconfig='contig', compression=compression)
    np.testing.assert_array_equal(decode(data, channels=12), pixels)


@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize('fourth', ['unspecified', 'unassalpha'])
def test_tiff_of_rgb_and_a_fourth_band(planar, fourth):
    pixels = bands(4)
    data = tiff(
        pixels if planar == 'contig' else pixels.transpose(2, 0, 1),
        'rgb', planarconfig=planar, extrasamples=[fourth],
    )  # fmt: skip
    np.testing.assert_array_equal(decode(data, channels=4), pixels)
    if fourth == 'unassalpha':
        assert decode(data, channels=3).shape == (20, 30, 3)
    else:
        with pytest.raises(BadImageError, match='has 4 channels, but 3 are asked'):
            decode(data, channels=3)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_tiff_of_grey_and_alpha_shows_the_background(dtype):
    pixels = bands(2)
    stored = pixels.astype(dtype) * (257 if dtype == np.uint16 else 1)
    data = tiff(stored, planarconfig='contig', extrasamples=['unassalpha'])
    np.testing.assert_array_equal(decode(data, channels=2), pixels)
    alpha = pixels[..., 1:] / 255
    expected = pixels[..., :1] * alpha + 100 * (1 - alpha)
    assert np.abs(decode(data, channels=3, background=100) - expected).max() <= 0.51


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize(('count', 'channels'), [(2, 1), (2, 3), (4, 3), (4, 1)])
def test_a_last_band_is_not_taken_for_alpha(count, channels, dtype):
    for data in (
        npy(bands(count, dtype)),
        tiff(bands(count, dtype), planarconfig='contig'),
        tiff(bands(count, dtype).transpose(2, 0, 1)),
    ):
        with pytest.raises(BadImageError, match=rf'has {count} channels, but {channels} are'):
            decode(data, channels=channels)


@pytest.mark.parametrize(
    ('make', 'channels', 'has'),
    [
        (lambda: encode(photo(20, 20)), 12, 3),
        (lambda: npy(np.zeros((8, 9, 5), np.uint8)), 3, 5),
        (lambda: npy(np.zeros((8, 9), np.float32)), 12, 1),
        (lambda: tiff(bands(5), planarconfig='contig'), 3, 5),
    ],
)
def test_channel_mismatch_names_both_numbers(make, channels, has):
    with pytest.raises(BadImageError, match=rf'has {has} channels, but {channels} are asked'):
        decode(make(), channels=channels)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_axes_that_look_swapped_are_told_with_the_way_to_write_them(dtype):
    array = np.zeros((64, 96, 6), dtype)
    written_so, swapped = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(swapped, array)
    options = dict(photometric='minisblack', planarconfig='contig')
    tifffile.imwrite(written_so, array, **options)
    advice = ', '.join(f'{name}={value!r}' for name, value in options.items())
    for data in (swapped.getvalue(), npy(array.transpose(0, 2, 1)[:, :, :64])):
        image = ImageSource(data, channels=6)
        with pytest.raises(BadImageError, match='axes look swapped') as error:
            image.convert(image.read()[:4, :4])
        assert f'read as {image.height} high, {image.width} wide, of 64 bands' in str(error.value)
        assert advice in str(error.value) and 'channels=64' not in str(error.value)
    assert decode(written_so.getvalue(), channels=6).shape == array.shape


def test_other_channels_are_told_with_the_size_as_read():
    with pytest.raises(BadImageError, match=r'set channels=5 .*read as 20 high, 30 wide, of 5 b'):
        decode(npy(bands(5)), channels=3)
    # A small colour picture is no stack of bands.
    with pytest.raises(BadImageError, match='set channels=3'):
        decode(encode(photo(12, 12)), channels=12)


BROKEN = {
    np.float16: [np.nan, np.inf],
    np.float32: [np.nan, -np.inf, -3.4028235e38],  # the last: what GDAL fills with
    np.float64: [np.nan, np.inf, -1.7976931348623157e308],
}


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('write', [npy, lambda pixels: tiff(pixels, planarconfig='contig')])
@pytest.mark.parametrize('dtype', BROKEN)
def test_values_without_a_loss_are_refused_where_they_are(write, dtype):
    for value in BROKEN[dtype]:
        pixels = bands(12, dtype)
        pixels[3, 4:7, 5] = value
        image = ImageSource(write(pixels), channels=12)
        decoded = image.read()
        np.testing.assert_array_equal(image.convert(decoded[4:]), pixels[4:])
        with pytest.raises(BadImageError, match=r'3 of the 7200 values .* are NaN.* fill them'):
            image.convert(decoded)
    largest = np.full((4, 4, 12), np.finfo(np.float16).max, dtype)
    np.testing.assert_array_equal(decode(write(largest), channels=12), largest)


@pytest.mark.parametrize('write', [npy, tiff], ids=['npy', 'tiff'])
def test_bands_by_number(write, tmp_path):
    pixels = bands(12, np.uint16)
    options = {} if write is npy else dict(planarconfig='contig')
    data = write(pixels, **options)
    np.testing.assert_array_equal(decode(data, 3, bands=[3, 2, 1]), pixels[..., [3, 2, 1]])
    path = tmp_path / ('a.npy' if write is npy else 'a.tif')
    path.write_bytes(data)
    for load in (
        LoadRandomResizedCrop(size=(20, 30), scale=(1, 1), ratio=(1.5, 1.5), flip_prob=0,
                              channels=2, bands=[11, 0]),
        LoadRandomWindow(size=(20, 30), scale=(1, 1), flip_prob=0, channels=2, bands=[11, 0]),
    ):  # fmt: skip
        found = load(dict(img_path=str(path), rng=np.random.default_rng(0)))['img'][0]
        np.testing.assert_array_equal(found.numpy().transpose(1, 2, 0), pixels[..., [11, 0]])
    image = LoadImage(channels=3, bands=[3, 2, 1])(dict(img_path=str(path)))['img']
    np.testing.assert_array_equal(image, pixels[..., [1, 2, 3]])  # BGR, as hosts expect


def test_bands_are_no_alpha_and_keep_their_nodata():
    rgba = np.asarray(photo(30, 20).convert('RGBA')).copy()
    rgba[:5, :, 3] = 0
    data = encode(Image.fromarray(rgba), 'PNG')
    np.testing.assert_array_equal(decode(data, 2, bands=[3, 0]), rgba[..., [3, 0]])
    pixels = bands(4, np.float32) + 1
    pixels[:3, :, 2] = -1
    found = decode(npy(pixels), 1, bands=[2], nodata=-1)
    np.testing.assert_allclose(found[:3], pixels[3:, :, 2].mean(), rtol=1e-5)
    np.testing.assert_array_equal(decode(npy(pixels), 1, bands=[0], nodata=-1), pixels[..., :1])


def test_bands_that_cannot_be():
    with pytest.raises(UserError, match=r'bands=\[3, 2, 1, 0\] are 4, but channels=3'):
        LoadImage(bands=[3, 2, 1, 0])
    with pytest.raises(UserError, match='counted from 0'):
        LoadRandomWindow(channels=1, bands=[-1])
    with pytest.raises(BadImageError, match=r'bands=\[12\].* has 12 bands, numbered 0 to 11'):
        decode(npy(bands(12)), 1, bands=[12])
