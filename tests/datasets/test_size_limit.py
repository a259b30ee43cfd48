"""``max_bytes`` bounds what is decoded: by the header, at the scale of decoding, in any format."""

import io
import struct

import numpy as np
import pytest
import tifffile
from broken_images import write_broken_images
from photos import encode, photo
from PIL import Image

from mae_plugin.datasets import LoadRandomResizedCrop, LoadResizeCenterCrop
from mae_plugin.datasets.decoding.decode import ImageSource, decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError


def grow(data: bytes, height: int, width: int) -> bytes:
    """A JPEG whose header promises another size."""
    huge = bytearray(data)
    frame = huge.index(b'\xff\xc0')
    huge[frame + 5 : frame + 9] = struct.pack('>HH', height, width)
    return bytes(huge)


def grow_tiff(data: bytes, height: int, width: int) -> bytes:
    """A TIFF whose header promises another size."""
    huge = bytearray(data)
    tags = tifffile.TiffFile(io.BytesIO(huge)).pages.first.tags
    for tag, value in ((256, width), (257, height)):
        form = {3: '<H', 4: '<I'}[tags[tag].dtype]
        struct.pack_into(form, huge, tags[tag].valueoffset, value)
    return bytes(huge)


def test_headers_that_promise_too_much_are_refused(tmp_path):
    with pytest.raises(BadImageError, match=r'50000x50000 needs .* more than max_bytes'):
        ImageSource(write_broken_images(tmp_path)['bomb_png'])
    with pytest.raises(BadImageError, match='max_bytes=1000'):
        ImageSource(encode(photo(40, 40), 'PNG'), max_bytes=1000)


def test_a_jpeg_counts_at_the_scale_of_decoding():
    image = ImageSource(encode(photo(160, 120)), max_bytes=80 * 60 * 3)
    with pytest.raises(
        BadImageError, match='160x120 needs 57600 bytes, more than max_bytes=14400'
    ):
        image.read()
    assert image.read(2).shape == (60, 80, 3)
    with pytest.raises(BadImageError, match='needs 900 bytes even at 1/8'):
        ImageSource(encode(photo(160, 120)), max_bytes=899)
    phone = grow(encode(photo(16, 16)), 9000, 12000)  # 108 megapixels
    assert ImageSource(phone).fits(2) and not ImageSource(phone).fits(1)


def test_a_progressive_jpeg_counts_whole():
    # libjpeg holds all its coefficients, whatever the scale.
    data = encode(photo(160, 120), progressive=True)
    with pytest.raises(BadImageError, match='160x120 needs 57600 bytes'):
        ImageSource(data, max_bytes=57599)
    assert ImageSource(data, max_bytes=57600).read(8).shape == (15, 20, 3)


@pytest.mark.parametrize('load', [LoadRandomResizedCrop(56), LoadResizeCenterCrop(56)])
def test_crops_of_a_jpeg_beyond_the_limit(load):
    data = encode(photo(800, 600), quality=95)
    small = type(load)(56, max_bytes=800 * 600)  # a sixth of the whole, with all channels a third
    for seed in range(4):
        whole, bounded = (
            each(dict(img_bytes=data, rng=np.random.default_rng(seed)))['img'][0]
            for each in (load, small)
        )
        assert bounded.shape == (3, 56, 56)
        assert (whole.float() - bounded.float()).abs().mean() < 3


def test_a_tiff_beyond_pillows_limit_is_called_large_not_damaged():
    data = grow_tiff(encode(photo(16, 16).convert('L'), 'TIFF'), 30_000, 30_000)
    with pytest.raises(BadImageError) as error:
        ImageSource(data, channels=1)
    message = str(error.value)
    assert message.startswith('30000x30000 needs 900000000 bytes, more than max_bytes')
    image = ImageSource(data, channels=1, max_bytes=900_000_000)
    assert (image.height, image.width) == (30_000, 30_000)
    # Its palette is Pillow's work, and Pillow has a limit of its own.
    palette = grow_tiff(encode(photo(16, 16).quantize(40), 'TIFF'), 30_000, 30_000)
    with pytest.raises(BadImageError, match='more pixels than Pillow opens, whatever max_bytes'):
        ImageSource(palette, max_bytes=1 << 40)


@pytest.mark.parametrize('photometric', ['minisblack', 'rgb'])
@pytest.mark.parametrize('compression', [None, 'lzw', 'jpeg'])
def test_a_tiff_beyond_pillows_limit_has_the_same_pixels(monkeypatch, photometric, compression):
    pixels = np.asarray(photo(96, 64))
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, pixels if photometric == 'rgb' else pixels[..., 0],
        photometric=photometric, compression=compression, tile=(32, 32),
    )  # fmt: skip
    channels = 3 if photometric == 'rgb' else 1
    expected = decode(buffer.getvalue(), channels)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    np.testing.assert_array_equal(decode(buffer.getvalue(), channels), expected)


@pytest.mark.parametrize('format', ['PNG', 'WEBP', 'GIF', 'BMP', 'AVIF', 'JPEG2000'])
def test_other_formats_beyond_pillows_limit_say_so(monkeypatch, format):
    data = encode(photo(96, 64), format)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    if format == 'PNG':  # read by OpenCV, which has limits of its own
        assert decode(data).shape == (64, 96, 3)
        return
    with pytest.raises(BadImageError, match='more pixels than Pillow opens'):
        ImageSource(data)


def test_opencvs_own_limit_is_a_bad_image(tmp_path):
    path = write_broken_images(tmp_path)['bomb_png']
    with pytest.raises(BadImageError, match='PNG'):
        ImageSource(path, max_bytes=1 << 40).read()
