"""Windows of large images equal the crop of the whole to the bit, in every layout."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photos import encode, photo
from PIL import Image

from mae_plugin.datasets import LoadRandomWindow
from mae_plugin.datasets.decoding.decode import ImageSource, decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError, MissingDataError
from mae_plugin.datasets.decoding.header import read_header

HEIGHT, WIDTH = 83, 131
SEGMENTS = [dict(tile=(16, 32)), dict(tile=(48, 16)), dict(rowsperstrip=7), dict()]
PACKED = [None, 'lzw', 'deflate', 'zstd', 'packbits', 'jpeg']


def pixels_of(bands: int, dtype, seed: int = 0) -> np.ndarray:
    image = np.asarray(photo(WIDTH, HEIGHT)).astype(np.float64)
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH, bands)) * 60
    return (np.resize(image, (HEIGHT, WIDTH, bands)) * 0.7 + noise).astype(dtype)


def write(path, pixels: np.ndarray, packing, segments, planar: str, big: bool, order: str) -> None:
    options: dict = dict(compression=packing, bigtiff=big, byteorder=order, **segments)
    bands = pixels.shape[2]
    rgb = bands == 3 and pixels.dtype == np.uint8
    options['photometric'] = 'rgb' if rgb else 'minisblack'
    if packing in ('lzw', 'deflate', 'zstd') and pixels.dtype.kind == 'u':
        options['predictor'] = True
    if bands == 1:
        data = pixels[..., 0]
    else:
        options['planarconfig'] = planar
        data = pixels if planar == 'contig' else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(path, data, **options)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(
    packing=st.sampled_from(PACKED),
    segments=st.sampled_from(SEGMENTS),
    planar=st.sampled_from(['contig', 'separate']),
    bands=st.sampled_from([1, 3, 4, 12]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    big=st.booleans(),
    order=st.sampled_from('<>'),
    box=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_tiff_windows(tmp_path, packing, segments, planar, bands, dtype, big, order, box):
    if packing == 'jpeg' and (dtype != np.uint8 or bands not in (1, 3)):
        packing = 'deflate'
    if packing == 'jpeg' and planar == 'separate':
        planar = 'contig'
    path = str(tmp_path / f'{np.random.default_rng().integers(1 << 60)}.tif')
    pixels = pixels_of(bands, dtype)
    write(path, pixels, packing, segments, planar, big, order)
    whole = tifffile.imread(path)
    if planar == 'separate' and bands > 1:
        whole = np.moveaxis(whole, 0, -1)
    whole = whole.reshape(HEIGHT, WIDTH, bands)
    top, left = int(box[0] * (HEIGHT - 1)), int(box[1] * (WIDTH - 1))
    height = 1 + int(box[2] * (HEIGHT - top - 1))
    width = 1 + int(box[3] * (WIDTH - left - 1))
    image = ImageSource(path, bands, keep_depth=True, windows=True)
    assert (image.height, image.width) == (HEIGHT, WIDTH)
    window = image.convert(image.read_window(top, left, height, width))
    assert window.dtype == dtype
    np.testing.assert_array_equal(window, whole[top : top + height, left : left + width])
    os.remove(path)


def test_pages_as_bands_pyramids_and_sparse_tiles(tmp_path):
    pixels = pixels_of(5, np.uint16)
    for name, options in {
        'pages': dict(photometric='minisblack', compression='lzw', tile=(32, 32)),
        'pages-raw': dict(photometric='minisblack', metadata=None),
    }.items():
        path = str(tmp_path / f'{name}.tif')
        tifffile.imwrite(path, np.moveaxis(pixels, -1, 0), **options)
        image = ImageSource(path, 5, windows=True)
        np.testing.assert_array_equal(image.read_window(9, 20, 50, 61), pixels[9:59, 20:81])
    slide = np.asarray(photo(512, 384))
    path = str(tmp_path / 'slide.svs')
    with tifffile.TiffWriter(path, bigtiff=True) as out:
        common = dict(tile=(64, 64), photometric='rgb', compression='jpeg')
        out.write(slide, subifds=2, **common)
        for step in (2, 4):
            out.write(slide[::step, ::step], subfiletype=1, **common)
    image = ImageSource(path, 3, windows=True)
    assert (image.height, image.width) == (384, 512)
    whole = tifffile.imread(path)
    np.testing.assert_array_equal(image.read_window(100, 30, 200, 300), whole[100:300, 30:330])
    assert read_header(path)[:5] == ('TIFF', 384, 512, 3, 'uint8')
    sparse = str(tmp_path / 'sparse.tif')

    def tiles():
        for number in range(4):
            yield None if number == 1 else np.full((64, 64), number + 1, np.uint16)

    tifffile.imwrite(sparse, tiles(), shape=(128, 128), dtype=np.uint16, tile=(64, 64))
    found = ImageSource(sparse, 1, keep_depth=True, windows=True).read_window(32, 32, 64, 64)
    np.testing.assert_array_equal(found, tifffile.imread(sparse)[32:96, 32:96, None])


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['tiff', 'jpeg'])
def test_windows_are_upright(tmp_path, kind, orientation):
    picture = photo(60, 40)
    path = tmp_path / f'a.{kind}'
    if kind == 'tiff':
        tags = [(274, 'H', 1, orientation, True)]
        tifffile.imwrite(path, np.asarray(picture), tile=(16, 16), extratags=tags)
    else:
        exif = Image.Exif()
        exif[274] = orientation
        path.write_bytes(encode(picture, exif=exif))
    whole = decode(path)
    image = ImageSource(path, windows=True)
    window = image.convert(image.read_window(3, 5, 21, 30))
    np.testing.assert_array_equal(window, whole[3:24, 5:35])


def write_zarr(path, values, chunks):
    """By the interface that zarr 2 (Python 3.10) and zarr 3 share."""
    import zarr

    options = dict(shape=values.shape, chunks=chunks, dtype=values.dtype)
    zarr.open_array(str(path), mode='w', **options)[...] = values


@pytest.mark.parametrize('layout', ['CHW', 'HWC', 'TCHW', 'HW', 'ome'])
def test_zarr(tmp_path, layout):
    import zarr

    pixels = pixels_of(1 if layout == 'HW' else 6, np.uint16)
    first = np.moveaxis(pixels, -1, 0)
    stored = dict(HWC=pixels, HW=pixels[..., 0], TCHW=first[None], CHW=first, ome=first)[layout]
    path = tmp_path / 'a.zarr'
    if layout == 'ome':
        group = zarr.open_group(str(path), mode='w')
        write_zarr(path / '0', stored, (1, 32, 32))
        write_zarr(path / '1', stored[:, ::2, ::2], (1, 32, 32))
        group.attrs['ome'] = dict(multiscales=[dict(datasets=[dict(path='0'), dict(path='1')])])
    else:
        chunks = tuple(min(32, side) for side in stored.shape)
        write_zarr(path, stored, chunks)
    image = ImageSource(path, pixels.shape[2], windows=True)
    np.testing.assert_array_equal(
        image.convert(image.read_window(7, 9, 40, 50)), pixels[7:47, 9:59]
    )
    np.testing.assert_array_equal(decode(path, pixels.shape[2]), pixels)
    assert read_header(str(path))[:5] == ('Zarr', HEIGHT, WIDTH, pixels.shape[2], 'uint16')


class Bomb:
    def __reduce__(self):
        return os.system, ('touch "$BOMB"',)


def test_zarr_is_never_unpickled(tmp_path, monkeypatch):
    pytest.importorskip('zarr')
    monkeypatch.setenv('BOMB', str(tmp_path / 'ran'))
    array = tmp_path / 'a.zarr'
    array.mkdir()
    meta = dict(
        zarr_format=2, shape=[4, 4], chunks=[4, 4], dtype='<f4', fill_value=0, order='C',
        compressor=None, filters=[dict(id='pickle')],
    )  # fmt: skip
    (array / '.zarray').write_text(json.dumps(meta))
    (array / '0.0').write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BadImageError, match='pickle'):
        decode(array, 1)
    assert not (tmp_path / 'ran').exists()


def test_npy_reads_only_the_window(tmp_path):
    path = tmp_path / 'a.npy'
    array = np.lib.format.open_memmap(path, 'w+', np.uint8, (1 << 16, 1 << 16, 3))
    array[40000:40004, 50000:50005] = 7
    del array
    image = ImageSource(str(path), windows=True)
    found = image.convert(image.read_window(39999, 50000, 6, 6))
    assert found.shape == (6, 6, 3) and (found[1:5, :5] == 7).all() and not found[0].any()
    os.remove(path)


def test_nodata_is_drawn_anew_and_filled(tmp_path):
    pixels = pixels_of(4, np.float32) + 1
    pixels[:, :64] = -9999
    path = str(tmp_path / 'a.tif')
    tifffile.imwrite(
        path, pixels, photometric='minisblack', planarconfig='contig', tile=(32, 32),
        extratags=[(42113, 's', 0, '-9999', True)],
    )  # fmt: skip
    load = LoadRandomWindow(24, scale=(1, 1), channels=4, max_nodata=0.2, flip_prob=0)
    seen_fill = False
    for seed in range(40):
        results = load(dict(img_path=path, rng=np.random.default_rng(seed)))
        top, left, height, width = results['crop_boxes'][0]
        stored = pixels[top : top + height, left : left + width]
        missing = stored == -9999
        assert missing.mean() <= 0.2
        expected = np.where(missing, stored[~missing[..., 0]].mean(0), stored)
        seen_fill |= bool(missing.any())
        found = results['img'][0].numpy().transpose(1, 2, 0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert seen_fill
    pixels[:] = np.nan
    tifffile.imwrite(path, pixels, photometric='minisblack', planarconfig='contig')
    with pytest.raises(MissingDataError):
        load(dict(img_path=path, rng=np.random.default_rng(0)))


def test_scale_and_small_images(tmp_path):
    path = str(tmp_path / 'a.png')
    photo(300, 200).save(path)
    load = LoadRandomWindow((64, 96), scale=(1, 2))
    heights = []
    for seed in range(200):
        results = load(dict(img_path=path, rng=np.random.default_rng(seed)))
        assert results['img'][0].shape == (3, 64, 96)
        _, _, height, width = results['crop_boxes'][0]
        assert abs(width - 1.5 * height) <= 1.5
        heights.append(height)
    assert min(heights) < 68 and max(heights) > 124
    photo(50, 30).save(path)
    (box,) = load(dict(img_path=path, rng=np.random.default_rng(0)))['crop_boxes']
    assert box[2:] == (30, 45)


PEAK = """
import sys
import numpy as np
from mae_plugin.datasets import LoadRandomWindow

def peak():
    with open('/proc/self/status') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))

load, rng, before = LoadRandomWindow(224, scale=(1, 2)), np.random.default_rng(0), peak()
for _ in range(20):
    load(dict(img_path=sys.argv[1], rng=rng))
print(peak() - before, peak())
"""


@pytest.mark.slow
def test_memory_is_bounded_by_the_window(tmp_path):
    """A tiled TIFF of 20,000 x 20,000, 1.2 GB of pixels: a worker stays below 400 MB."""
    path = str(tmp_path / 'large.tif')
    tile = np.full((256, 256, 3), 9, np.uint8)
    tifffile.imwrite(
        path, (None if number else tile for number in range(79 * 79)), shape=(20000, 20000, 3),
        dtype=np.uint8, tile=(256, 256), photometric='rgb', compression='zstd',
    )  # fmt: skip
    done = subprocess.run([sys.executable, '-c', PEAK, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    more, total = map(int, done.stdout.split())
    assert more < 60 * 1024
    # A torch that was built for CUDA maps 150 to 400 MB more, pages that all processes share.
    assert torch.version.cuda or total < 400 * 1024
