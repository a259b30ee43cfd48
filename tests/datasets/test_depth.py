"""Pictures of 16 bits: kept where the config says so, rounded by the header, warned of."""

import io
import re
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from mmengine.logging import MMLogger
from photos import encode, photo
from torch.utils.data import DataLoader

from mae_plugin.datasets import LoadImage, LoadResizeCenterCrop
from mae_plugin.datasets.decoding.decode import decode


def values(channels: int, top: int, seed: int = 0) -> np.ndarray:
    shape = (64, 64, channels)
    return np.random.default_rng(seed).integers(0, top + 1, shape).astype(np.uint16)


def png(pixels: np.ndarray, transparent=None) -> bytes:
    """A PNG of 16 bits, written by hand: by no decoder that reads it here."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack('>I', zlib.crc32(kind + body))
        return struct.pack('>I', len(body)) + kind + body + crc

    height, width, channels = pixels.shape
    colour = {1: 0, 3: 2, 2: 4, 4: 6}[channels]
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    key = b'' if transparent is None else chunk(b'tRNS', np.asarray(transparent, '>u2').tobytes())
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 16, colour, 0, 0, 0))
    body = chunk(b'IDAT', zlib.compress(rows))
    return b'\x89PNG\r\n\x1a\n' + header + key + body + chunk(b'IEND', b'')


def tiff(pixels: np.ndarray, bits: int = 16, **options) -> bytes:
    buffer = io.BytesIO()
    if pixels.shape[2] > 1:
        options['planarconfig'] = 'contig'
    data = np.squeeze(pixels)
    if bits < 16:  # packed by hand: imagecodecs of Python 3.10 cannot
        options |= dict(bitspersample=bits, rowsperstrip=len(data))
        options |= dict(shape=data.shape, dtype=data.dtype)
        digits = pixels[..., None] >> np.arange(bits - 1, -1, -1) & 1
        data = iter([np.packbits(digits.reshape(len(pixels), -1) == 1, axis=1).tobytes()])
    tifffile.imwrite(buffer, data, photometric='minisblack', **options)
    return buffer.getvalue()


def npy(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def jpeg2000(pixels: np.ndarray, **options) -> bytes:
    return imagecodecs.jpeg2k_encode(np.squeeze(pixels), level=0, codecformat='jp2', **options)


def netpbm(pixels: np.ndarray, white: int = 65535) -> bytes:
    height, width, channels = pixels.shape
    header = f'P{6 if channels == 3 else 5}\n# made by a test\n{width} {height}\n{white}\n'
    return header.encode() + pixels.astype('>u2').tobytes()


CONTAINERS = [
    (tiff, 1), (tiff, 2), (tiff, 3), (tiff, 4), (tiff, 5), (png, 1), (png, 3), (png, 4), (npy, 1),
    (npy, 4), (npy, 5), (jpeg2000, 1), (jpeg2000, 3), (jpeg2000, 4), (netpbm, 1), (netpbm, 3),
]  # fmt: skip


@pytest.mark.parametrize(('write', 'channels'), CONTAINERS)
def test_the_config_decides_not_container_and_bands(write, channels, tmp_path):
    pixels = values(channels, 2999)
    data = write(pixels)
    kept = decode(data, channels, keep_depth=True)
    assert kept.dtype == np.uint16
    np.testing.assert_array_equal(kept, pixels)
    path = tmp_path / ('x.npy' if write is npy else 'x.img')
    path.write_bytes(data)
    image = LoadImage(channels=channels, keep_depth=True)(dict(img_path=str(path)))['img']
    assert len(np.unique(image)) == len(np.unique(pixels))
    rounded = decode(data, channels, keep_depth=False)
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - pixels / 257).max() <= 0.5


def test_unset_pictures_are_rounded_and_arrays_are_not():
    for write, channels in CONTAINERS:
        found = decode(write(values(channels, 65535)), channels)
        assert found.dtype == (np.uint16 if write is npy or channels > 4 else np.uint8)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('bits', [10, 12, 14])
def test_the_header_says_what_white_is(channels, bits):
    white = (1 << bits) - 1
    pixels = values(channels, white)
    for data in (
        tiff(pixels, bits),
        netpbm(pixels, white),
        jpeg2000(pixels, bitspersample=bits),
    ):
        np.testing.assert_array_equal(decode(data, channels, keep_depth=True), pixels)
        assert np.abs(decode(data, channels) - pixels * 255.0 / white).max() <= 0.5


@pytest.mark.parametrize('bits', [10, 12])
def test_avif_of_more_bits(bits):
    white = (1 << bits) - 1
    smooth = np.asarray(photo(48, 32)).astype(float)
    pixels = np.rint(smooth / 255 * white).astype(np.uint16)
    data = imagecodecs.avif_encode(pixels, level=100, bitspersample=bits)
    np.testing.assert_array_equal(decode(data, keep_depth=True), pixels)
    assert np.abs(decode(data) - pixels * 255.0 / white).max() <= 0.5


@pytest.mark.parametrize('channels', [1, 3])
def test_the_transparent_colour_of_a_deep_png(channels):
    pixels = values(channels, 65535)
    pixels[5:9] = key = pixels[0, 0].copy()
    data = png(pixels, key)
    clear = (pixels == key).all(-1, keepdims=True)
    expected = np.where(clear, 65535, pixels)
    np.testing.assert_array_equal(decode(data, channels, keep_depth=True), expected)
    assert np.abs(decode(data, channels) - expected / 257).max() <= 0.5


def test_deep_alpha_shows_the_background():
    pixels = values(4, 65535)
    alpha = pixels[..., 3:] / 65535
    expected = pixels[..., :3] * alpha + 100 * 257 * (1 - alpha)
    found = decode(png(pixels), 3, background=100, keep_depth=True)
    assert found.dtype == np.uint16 and np.abs(found - expected).max() <= 0.51


def test_crops_keep_what_the_file_has():
    pixels = values(4, 2999)
    load = LoadResizeCenterCrop(64, resize_short=64, channels=4, keep_depth=True)
    (crop,) = load(dict(img_bytes=tiff(pixels)))['img']
    np.testing.assert_array_equal(crop.float().numpy(), pixels.transpose(2, 0, 1))


@pytest.fixture
def log(tmp_path):
    """The lines of the current logger."""
    file = tmp_path / 'log.txt'
    MMLogger.get_instance(f'depth{file}', log_file=str(file))
    return lambda: file.read_text().splitlines()


class Files(torch.utils.data.Dataset):
    def __init__(self, folder, load):
        self.paths, self.load = sorted(folder.glob('*.png')), load

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.load(dict(img_path=str(self.paths[index])))['img'][0]


def test_a_range_hardly_used_is_told_once_for_all_workers(tmp_path, log):
    for number in range(8):
        (tmp_path / f'{number}.png').write_bytes(png(values(1, 2999, number)))
    load = LoadResizeCenterCrop(16, channels=1)
    for _ in range(2):  # workers of the second pass are new ones
        list(DataLoader(Files(tmp_path, load), num_workers=2))
    (line,) = log()
    assert str(tmp_path / '0.png') in line and 'keep_depth=True' in line
    peak, levels = map(
        int, re.search(r'about (\d+) of 65535: as 8 bits, (\d+) levels', line).groups()
    )
    assert 2970 <= peak <= 2999 and levels == 13


@pytest.mark.parametrize(
    ('data', 'options'),
    [
        (png(values(1, 65535)), {}),
        (png(values(1, 2999)), dict(keep_depth=True)),
        (png(values(1, 2999)), dict(keep_depth=False)),
        (tiff(values(1, 4095), 12), {}),
        (npy(values(1, 2999)), {}),
        (encode(photo(20, 20).convert('L'), 'PNG'), {}),
    ],
)
def test_nothing_is_told_where_nothing_is_lost_or_it_is_wanted(data, options, log):
    LoadResizeCenterCrop(16, channels=1, **options)(dict(img_bytes=data))
    assert not log()


def test_one_hot_pixel_and_a_mark_of_no_data_are_no_range(tmp_path, log):
    pixels = values(1, 2999)
    pixels[3, 3] = 65535
    pixels[10:20] = 60000
    mark = (42113, 's', 0, '60000', True)
    (tmp_path / 'a.tif').write_bytes(tiff(pixels, extratags=[mark]))
    LoadImage(channels=1)(dict(img_path=str(tmp_path / 'a.tif')))
    assert 'a.tif holds values up to about 29' in log()[0]


def test_opencv_reads_the_same_levels():
    pixels = values(3, 2999)
    theirs = cv2.imdecode(np.frombuffer(png(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decode(png(pixels), keep_depth=True), theirs[..., ::-1])
