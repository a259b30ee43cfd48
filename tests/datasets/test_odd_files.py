"""Files that decoders stumble over in ways of their own: always a bad image, never a crash."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from mae_plugin.datasets.decoding.decode import ImageSource
from mae_plugin.datasets.decoding.encoded_image import BadImageError

FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'GIF', 'AVIF', 'NPY')


def encoded(name):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
    image = small.resize((40, 32), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    if name == 'NPY':
        np.save(buffer, np.asarray(image))
    elif name == 'TIFF':
        tifffile.imwrite(buffer, np.asarray(image), photometric='rgb', compression='lzw')
    else:
        image.save(buffer, name)
    return buffer.getvalue()


def is_sound(data):
    """Whether the data is an image; anything but that and a bad one fails the test."""
    try:
        source = ImageSource(data)
        pixels = source.convert(source.read())
    except BadImageError:
        return False
    assert pixels.shape == (source.height, source.width, 3)
    return True


@pytest.mark.parametrize('name', FORMATS)
def test_whatever_byte_is_damaged(name):
    data = encoded(name)
    assert is_sound(data)
    rng = np.random.default_rng(1)
    # The header more often than the pixels: that is where parsers are.
    places = np.concatenate(
        [rng.integers(0, min(400, len(data)), 150), rng.integers(0, len(data), 50)]
    )
    found = []
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= int(rng.integers(1, 256))
        found.append(is_sound(bytes(damaged)))
    assert not all(found)


@pytest.mark.parametrize('name', FORMATS)
def test_wherever_it_is_cut_off(name):
    data = encoded(name)
    for end in np.linspace(1, len(data) - 1, 40).astype(int):
        is_sound(data[:end])


def test_an_array_that_promises_more_than_memory_has():
    header = io.BytesIO()
    shape = (10_000_000, 10_000_000, 3)
    np.lib.format.write_array_header_1_0(
        header, dict(descr='|u1', fortran_order=False, shape=shape)
    )
    with pytest.raises(BadImageError, match='array'):
        ImageSource(header.getvalue() + bytes(1000))


@pytest.mark.parametrize('order', ['C', 'F'])
def test_arrays_from_shards_equal_those_from_files(tmp_path, order):
    array = np.asarray(np.random.default_rng(0).random((5, 7, 12)), np.float32, order=order)
    np.save(tmp_path / 'x.npy', array)
    data = (tmp_path / 'x.npy').read_bytes()
    for source in (data, str(tmp_path / 'x.npy')):
        image = ImageSource(source, channels=12)
        np.testing.assert_array_equal(image.convert(image.read()), array)
