"""Decoding against Pillow and tifffile: formats, modes, orientation, damage, size limits."""

import io
import struct

import numpy as np
import pytest
import tifffile
from broken_images import write_broken_images
from photos import encode, photo
from PIL import Image, ImageOps

from mae_plugin.datasets.decoding.decode import ImageSource, decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError

LOSSLESS = ('PNG', 'BMP', 'TIFF', 'WEBP', 'PPM')
OPTIONS = {'WEBP': dict(lossless=True, exact=True)}


def rgb(width: int = 83, height: int = 57) -> Image.Image:
    return photo(width, height)


def save(image: Image.Image, format: str, **options) -> bytes:
    return encode(image, format, **{**OPTIONS.get(format, {}), **options})


def random_image(mode: str, seed: int = 0) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 256, (31, 45, bands), np.uint8)
    return Image.fromarray(noise if bands > 1 else noise[..., 0], mode)


@pytest.mark.parametrize('format', LOSSLESS)
@pytest.mark.parametrize('mode', ['RGB', 'L', '1'])
def test_lossless_formats_equal_pillow(format, mode):
    image = rgb().convert(mode)
    data = save(image, format)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
    np.testing.assert_array_equal(decode(data), expected)
    grey = decode(data, channels=1)
    if mode != 'RGB' and format != 'WEBP':  # WebP has no grey
        np.testing.assert_array_equal(grey[..., 0], np.asarray(image.convert('L')))
    assert grey.shape == (57, 83, 1)


@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(subsampling=0)])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_jpeg_equals_pillow(mode, options):
    data = save(rgb().convert(mode), 'JPEG', quality=90, **options)
    reference = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(decode(data), np.asarray(reference.convert('RGB')))
    # Grey is the luma plane itself; Pillow computes it back from RGB.
    difference = decode(data, channels=1)[..., 0].astype(int) - np.asarray(reference.convert('L'))
    assert np.abs(difference).mean() < 1


@pytest.mark.parametrize('adobe', [True, False])
def test_cmyk_jpeg_equals_pillow(adobe):
    data = save(rgb().convert('CMYK'), 'JPEG', quality=95)
    if not adobe:
        data = data.replace(b'Adobe', b'Other')
    expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
    np.testing.assert_array_equal(decode(data), expected)
    assert np.abs(decode(data).astype(int) - np.asarray(rgb())).mean() < 6 or not adobe


def test_cmyk_tiff_equals_pillow():
    data = save(rgb().convert('CMYK'), 'TIFF')
    expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
    np.testing.assert_array_equal(decode(data), expected)


@pytest.mark.parametrize('format', ['PNG', 'GIF', 'BMP', 'TIFF'])
def test_palettes_are_looked_up(format):
    image = rgb().quantize(40)
    expected = np.asarray(Image.open(io.BytesIO(save(image, format))).convert('RGB'))
    np.testing.assert_array_equal(decode(save(image, format)), expected)


def over(image: Image.Image, background: int) -> np.ndarray:
    """The picture over a grey background, computed in floats."""
    pixels = np.asarray(image.convert('RGBA')).astype(float)
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + background * (1 - alpha)


@pytest.mark.parametrize('background', [255, 0, 100])
@pytest.mark.parametrize(
    ('mode', 'format'), [('RGBA', 'PNG'), ('RGBA', 'WEBP'), ('RGBA', 'TIFF'), ('LA', 'PNG')]
)
def test_alpha_shows_the_background(mode, format, background):
    image = random_image(mode)
    found = decode(save(image, format), background=background)
    assert np.abs(found - over(image, background)).max() <= 0.51
    grey = decode(save(image, format), channels=1, background=background)
    assert grey.shape == (31, 45, 1)


def test_palette_with_transparency():
    image = random_image('RGB').quantize(16)
    data = save(image, 'PNG', transparency=bytes([0, 128] + [255] * 14))
    expected = over(Image.open(io.BytesIO(data)), 255)
    assert np.abs(decode(data) - expected).max() <= 0.51


def test_transparent_colour_of_a_grey_png():
    image = random_image('L')
    data = save(image, 'PNG', transparency=int(np.asarray(image)[0, 0]))
    expected = over(Image.open(io.BytesIO(data)), 255)
    assert np.abs(decode(data) - expected).max() <= 0.51


def test_four_channels_keep_alpha():
    image = random_image('RGBA')
    np.testing.assert_array_equal(decode(save(image, 'PNG'), channels=4), np.asarray(image))


def deep(bands: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 65536, (20, 30, bands)).astype(np.uint16)


@pytest.mark.parametrize('channels', [1, 3])
def test_sixteen_bits_become_eight(channels):
    pixels = deep(channels)
    import cv2

    _, png = cv2.imencode('.png', pixels[..., ::-1])
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, pixels, photometric='rgb' if channels == 3 else 'minisblack')
    for data in (png.tobytes(), tiff.getvalue()):
        found = decode(data, channels=channels)
        assert found.dtype == np.uint8
        assert np.abs(found - pixels / 257).max() <= 0.5


def test_rgb_to_grey_is_bt601():
    image = random_image('RGB')
    grey = decode(save(image, 'PNG'), channels=1)[..., 0]
    expected = np.asarray(image) @ [0.299, 0.587, 0.114]
    assert np.abs(grey - expected).max() <= 0.51


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_exif_orientation(format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    image = rgb()
    # Four corners of different colours: a mean difference cannot hide a wrong turn.
    data = save(image, format, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert('RGB')
    source = ImageSource(data)
    assert (source.width, source.height) == upright.size
    np.testing.assert_array_equal(source.convert(source.read()), np.asarray(upright))


def test_nonsense_exif_is_ignored():
    for block in (b'', b'II*\0', b'MM\0*\xff\xff\xff\xff', b'II*\0\x08\0\0\0\xff\xff'):
        payload = b'Exif\0\0' + block
        data = save(rgb(), 'JPEG')
        app1 = b'\xff\xe1' + struct.pack('>H', len(payload) + 2) + payload
        assert decode(data[:2] + app1 + data[2:]).shape == (57, 83, 3)


@pytest.mark.parametrize('scale', [2, 4, 8])
@pytest.mark.parametrize('size', [(64, 48), (83, 57), (9, 8)])
def test_scaled_jpeg_covers_whole_pixels(size, scale):
    image = photo(*size)
    source = ImageSource(encode(image, quality=95))
    small = source.read(scale)
    assert small.shape == (-(-size[1] // scale), -(-size[0] // scale), 3)
    full = source.read().astype(float)
    h, w = size[1] // scale, size[0] // scale
    boxes = full[: h * scale, : w * scale].reshape(h, scale, w, scale, 3).mean((1, 3))
    assert np.abs(small[:h, :w] - boxes).mean() < 6


def test_turned_jpeg_scales_only_by_divisors():
    exif = Image.Exif()
    exif[274] = 6
    for size, scale in (((64, 48), 8), ((60, 36), 4), ((83, 57), 1)):
        assert ImageSource(encode(photo(*size), exif=exif)).max_scale == scale


def test_every_broken_kind_is_refused(tmp_path):
    paths = write_broken_images(tmp_path)
    assert len(paths) == 12
    for kind, path in paths.items():
        error = FileNotFoundError if kind == 'vanished' else BadImageError
        with pytest.raises(error):
            decode(path)
    assert not (tmp_path / 'EXECUTED').exists()


@pytest.mark.parametrize('where', np.linspace(0.1, 0.9, 9))
def test_damaged_jpeg_is_refused(where):
    data = encode(photo(320, 240), quality=90)
    progressive = encode(photo(320, 240), quality=90, progressive=True)
    start = int(len(data) * where)
    truncated = data[:start]
    erased = truncated + b'\xff' * 64 + data[start + 64 :]
    lost = truncated + data[start + 512 :]
    for damaged in (truncated, erased, lost, progressive[: int(len(progressive) * where)]):
        for scale in (1, 2):
            with pytest.raises(BadImageError, match='JPEG'):
                ImageSource(damaged).read(scale)


@pytest.mark.parametrize('format', ['PNG', 'BMP', 'TIFF', 'WEBP', 'GIF', 'PPM'])
@pytest.mark.parametrize('part', [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(format, part):
    data = save(rgb(), format)
    with pytest.raises(BadImageError):
        decode(data[: int(len(data) * part)])
