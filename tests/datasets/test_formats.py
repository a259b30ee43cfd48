"""Formats beside the common ones: read as Pillow reads them, or refused in a sentence."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from photos import encode, photo
from PIL import Image, ImageOps

from mae_plugin.datasets.decoding.decode import ImageSource, decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError


def upright(data: bytes, mode: str) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert(mode))


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('format', ['AVIF', 'JPEG2000'])
def test_eight_bits_equal_pillow(format, mode):
    data = encode(photo(83, 57).convert(mode), format)
    np.testing.assert_array_equal(decode(data), upright(data, 'RGB'))
    source = ImageSource(data)
    assert (source.height, source.width) == (57, 83)


@pytest.mark.parametrize('format', ['AVIF', 'JPEG2000'])
def test_alpha_is_composited(format):
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 4), np.uint8)
    lossless = dict(irreversible=False) if format == 'JPEG2000' else dict(quality=100)
    data = encode(Image.fromarray(noise, 'RGBA'), format, **lossless)
    rgba = upright(data, 'RGBA').astype(float)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 100 * (1 - alpha)
    assert np.abs(decode(data, background=100) - expected).max() <= 0.51


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('deep', [False, True])
def test_avif_is_turned_upright(orientation, deep):
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(photo(48, 32), 'AVIF', exif=exif)
    expected = upright(data, 'RGB')
    if deep:  # nothing here writes a turned AVIF of 10 bits: one of 8 that claims to have them
        changed = bytearray(data)
        changed[data.index(b'av1C') + 6] |= 0x40
        start = data.index(b'pixi') + 9
        changed[start : start + 3] = bytes([10, 10, 10])
        data = bytes(changed)
    source = ImageSource(data)
    assert (source.height, source.width) == expected.shape[:2]
    assert np.abs(source.convert(source.read()).astype(int) - expected).max() <= 2


@pytest.mark.parametrize('bands', [5, 12])
def test_jpeg2000_of_many_bands(bands):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, bands), np.uint8)
    data = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat='j2k')
    np.testing.assert_array_equal(decode(data, bands), pixels)


def test_jpeg2000_of_signed_numbers():
    pixels = np.random.default_rng(0).integers(-2000, 2000, (40, 30)).astype(np.int16)
    data = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat='jp2')
    np.testing.assert_array_equal(decode(data, 1)[..., 0], pixels)


def test_jfif_is_jpeg(tmp_path):
    (tmp_path / 'a.jfif').write_bytes(encode(photo(40, 30)))
    assert decode(tmp_path / 'a.jfif').shape == (30, 40, 3)


def test_heic_is_refused_with_the_way_out():
    for brand in (b'heic', b'mif1'):
        box = brand + struct.pack('>I', 0) + b'mif1heic'
        data = struct.pack('>I', 8 + len(box)) + b'ftyp' + box + bytes(1000)
        with pytest.raises(
            BadImageError, match=r'HEIC is not read: convert it to JPEG.*heif-conv'
        ):
            ImageSource(data)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('format', ['AVIF', 'JPEG2000', 'PNM'])
def test_truncated_and_damaged_files_are_bad_images(format, bits):
    pixels = np.asarray(photo(60, 40))
    if format == 'PNM':
        white = 255 if bits == 8 else 65535
        pixels = pixels.astype('>u2' if bits == 16 else np.uint8)
        data = b'P6\n60 40\n%d\n' % white + pixels.tobytes()
    elif bits == 8:
        data = encode(photo(60, 40), format)
    elif format == 'AVIF':
        data = imagecodecs.avif_encode(pixels.astype(np.uint16) * 4, level=90, bitspersample=10)
    else:
        data = imagecodecs.jpeg2k_encode(pixels.astype(np.uint16) * 257, level=0)
    assert decode(data).shape == (40, 60, 3)
    rng, refused = np.random.default_rng(0), 0
    for end in np.linspace(1, len(data) - 1, 30).astype(int):
        flipped = bytearray(data)
        flipped[rng.integers(0, min(200, len(data)))] ^= int(rng.integers(1, 256))
        for damaged in (data[:end], bytes(flipped)):
            try:
                image = ImageSource(damaged, max_bytes=1 << 24)
                found = image.convert(image.read())
                assert found.shape == (image.height, image.width, 3)
            except BadImageError:
                refused += 1
    assert refused > 20
