"""What hosts' pipelines load is what pretraining sees, in the hosts' channel order."""

import re

import mmcv
import numpy as np
import pytest
import tifffile
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.registry import TRANSFORMS, init_default_scope
from photos import encode, photo
from PIL import Image

from mae_plugin.datasets.decoding.decode import decode
from mae_plugin.datasets.decoding.encoded_image import BadImageError
from mae_plugin.datasets.load_image import LoadImage


def values(bands, dtype, top):
    return (np.random.default_rng(0).random((20, 30, bands)) * top).astype(dtype)


def write_tif(path, array):
    tifffile.imwrite(path, array, photometric='minisblack', planarconfig='contig')


def write_sixteen_bit_png(path, array):
    Image.fromarray(array[..., 0]).save(path)


def load(path, **kwargs):
    results = LoadImage(**kwargs)(dict(img_path=str(path)))
    image = results['img']
    assert results['img_shape'] == results['ori_shape'] == image.shape[:2]
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert type(image) is np.ndarray
    return image


@pytest.mark.parametrize(
    'name, write, array',
    [
        ('a.tif', write_tif, values(12, np.uint16, 10_000)),
        ('b.tif', write_tif, values(6, np.uint8, 255)),
        ('c.npy', np.save, values(12, np.float32, 3)),
        ('d.npy', np.save, values(5, np.int32, 10_000)),
        ('e.npy', np.save, values(1, np.uint16, 60_000)),
        ('f.png', write_sixteen_bit_png, values(1, np.uint16, 65_535)),
    ],
)
def test_bands_and_grey_are_pretrainings(name, write, array, tmp_path):
    path = tmp_path / name
    write(path, array)
    channels = array.shape[2]
    expected = decode(path, channels)
    image = load(path, channels=channels)
    np.testing.assert_array_equal(image, expected)
    assert image.dtype == (np.uint8 if expected.dtype == np.uint8 else np.float32)
    assert load(path, channels=channels, to_float32=True).dtype == np.float32
    if not name.endswith('png'):
        np.testing.assert_array_equal(image, array)


def test_three_channels_are_in_mmcvs_order(tmp_path):
    path = tmp_path / 'photo.jpg'
    path.write_bytes(encode(photo(200, 150), quality=95))
    image = load(path)
    np.testing.assert_array_equal(image[..., ::-1], decode(path))
    theirs = LoadImageFromFile()(dict(img_path=str(path)))
    assert image.dtype == theirs['img'].dtype
    assert image.shape == theirs['img'].shape
    difference = np.abs(image.astype(int) - theirs['img'])
    # Decoders round differently; channels the wrong way round differ by 25.
    assert difference.mean() < 1
    assert np.abs(image[..., ::-1].astype(int) - theirs['img']).mean() > 10

    pixels = values(3, np.float32, 3)
    np.save(tmp_path / 'three.npy', pixels)
    np.testing.assert_array_equal(load(tmp_path / 'three.npy')[..., ::-1], pixels)


def test_turned_by_exif(tmp_path):
    path = tmp_path / 'turned.jpg'
    exif = Image.Exif()
    exif[274] = 6
    path.write_bytes(encode(photo(60, 40), exif=exif))
    image = load(path)
    assert image.shape == (60, 40, 3)
    np.testing.assert_array_equal(image[..., ::-1], decode(path))
    theirs = mmcv.imread(path)
    assert np.abs(image.astype(int) - theirs).mean() < 2


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
def test_hosts_build_it_by_name(scope, tmp_path):
    init_default_scope(scope)
    np.save(tmp_path / 'x.npy', values(12, np.uint16, 10_000))
    pipeline = Compose(
        [
            dict(type='mae_plugin.LoadImage', channels=12),
            dict(type='Resize', scale=(60, 40)),
            dict(type='Normalize', mean=[1500.0] * 12, std=[1200.0] * 12, to_rgb=False),
        ]
    )
    image = pipeline(dict(img_path=str(tmp_path / 'x.npy')))['img']
    assert TRANSFORMS.get('mae_plugin.LoadImage') is LoadImage
    assert image.shape == (40, 60, 12)
    assert torch.from_numpy(image).dtype == torch.float32


def test_unusable_files_are_named(tmp_path):
    broken, other = tmp_path / 'broken.jpg', tmp_path / 'other.png'
    broken.write_bytes(encode(photo(60, 40))[:300])
    Image.new('RGB', (8, 8)).save(other)
    with pytest.raises(BadImageError, match=re.escape(f'{broken}: ')):
        load(broken)
    with pytest.raises(BadImageError, match=f'{re.escape(str(other))}: the image has 3 channels'):
        load(other, channels=12)
    with pytest.raises(FileNotFoundError, match=r'missing\.tif'):
        load(tmp_path / 'missing.tif')
    for path in (broken, tmp_path / 'missing.tif'):
        assert LoadImage(ignore_empty=True)(dict(img_path=str(path))) is None


def test_files_of_another_backend(tmp_path):
    array = values(12, np.float32, 3)
    np.save(tmp_path / 'x.npy', array)
    image = load(tmp_path / 'x.npy', channels=12, backend_args=dict(backend='local'))
    np.testing.assert_array_equal(image, array)
