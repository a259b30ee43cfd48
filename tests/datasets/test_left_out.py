"""Files of other kinds are counted by ending and told once; what is no folder is refused."""

import io
import logging
import tarfile

import imagecodecs
import numpy as np
import pytest
from photos import encode, photo, touch

from mae_plugin.datasets import ImageFolder, ImageShards
from mae_plugin.errors import UserError


@pytest.fixture
def told(monkeypatch):
    """Lines and levels of what is told of files left out."""
    lines = []
    monkeypatch.setattr(
        'mae_plugin.datasets.left_out.log',
        lambda line, level: lines.append((line, level)),
    )
    return lines


def folder(root, **options) -> ImageFolder:
    return ImageFolder(str(root), **{'index_cache': False, **options})


def test_other_formats_are_read_where_a_decoder_is_installed(tmp_path, told):
    image = photo(40, 30)
    for number in range(6):
        (tmp_path / f'{number}.jpg').write_bytes(encode(image))
        (tmp_path / f'{number}.AVIF').write_bytes(encode(image, 'AVIF'))
        (tmp_path / f'{number}.jp2').write_bytes(
            imagecodecs.jpeg2k_encode(np.asarray(image), codecformat='jp2')
        )
        (tmp_path / f'{number}.jfif').write_bytes(encode(image))
    touch(tmp_path, *(f'{number}.heic' for number in range(6)))
    load = dict(type='mae_plugin.LoadResizeCenterCrop', size=16)
    images = folder(tmp_path, pipeline=[load, dict(type='mae_plugin.PackInputs')])
    assert len(images) == 24
    assert all(images[index]['inputs'].shape == (3, 16, 16) for index in range(24))
    assert images.bad_images.counts() == (24, 0)
    ((line, level),) = told
    assert line == (
        f'{tmp_path}: 24 images, 6 files of other kinds left out (6 .heic); '
        'to use them, convert .heic to JPEG, PNG or TIFF'
    )
    assert level == logging.WARNING


def test_counts_are_by_ending_and_told_once(tmp_path, told):
    touch(tmp_path, 'a/1.jpg', 'a/1.txt', 'b/2.TXT', 'b/c/3.json', 'README', '.hidden.txt')
    for _ in range(2):
        folder(tmp_path)
    ((line, level),) = told
    counts = '2 .txt, 1 without a suffix, 1 .json'
    assert line == f'{tmp_path}: 1 image, 4 files of other kinds left out ({counts})'
    assert level == logging.INFO  # nothing that could hold pictures


def test_the_cached_index_knows_them_too(tmp_path, told):
    touch(tmp_path / 'images', '1.jpg', '2.heic')
    cache = str(tmp_path / 'index.npz')
    first = folder(tmp_path / 'images', index_cache=cache)
    from mae_plugin.datasets.folder_listing import FolderListing

    suffixes = tuple(sorted(('.jpg', '.png')))
    FolderListing.scan(str(tmp_path / 'images'), suffixes).save(tmp_path / 'other.npz', suffixes)
    assert FolderListing.load(tmp_path / 'other.npz', suffixes).left_out == {'.heic': 1}
    assert len(first) == 1 and len(told) == 1


def test_many_endings_are_summed_up(tmp_path, told):
    touch(tmp_path, '1.jpg', *(f'{number}.{number}' for number in range(20)), 'x.\udce9')
    folder(tmp_path)
    ((line, _),) = told
    assert '21 files of other kinds' in line and '13 with 13 other suffixes' in line


def test_what_would_bring_them_in(tmp_path, told):
    touch(tmp_path, '1.jpg', 'a.zip', 'b.tar', 'c.mp4', 'd.cr2', 'e.heic')
    folder(tmp_path)
    ((line, _),) = told
    for way in ('unpack .zip', 'shards', 'cut .mp4 into pictures', 'convert .heic, .cr2 to JPEG'):
        assert way in line


def test_a_folder_of_other_kinds_alone_says_so(tmp_path):
    touch(tmp_path, '1.heic', '2.heic')
    with pytest.raises(
        UserError, match=r'holds no image .*2 files of other kinds.*convert \.heic'
    ):
        folder(tmp_path)


@pytest.mark.parametrize('prefix', ['', 'train'])
@pytest.mark.parametrize(
    ('name', 'advice'),
    [
        ('photos.zip', 'unpack it, and give the folder that comes out'),
        ('photos.tar.gz', 'unpack it'),
        ('photos.tar', 'read it as a shard'),
        ('a.jpg', 'give the folder that it lies in'),
    ],
)
def test_a_file_is_no_folder(tmp_path, name, advice, prefix):
    touch(tmp_path, name)
    with pytest.raises(UserError) as error:
        folder(tmp_path / name, data_prefix=prefix)
    message = str(error.value)
    assert f'{str(tmp_path / name)!r} is a file' in message and advice in message
    assert 'does not exist' not in message


def test_members_of_shards_are_counted_too(tmp_path, told):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for name in ('1.jpg', '1.cls', '1.json', '2.heic', '3.heic'):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b'1'))
    assert len(ImageShards(str(tmp_path), cache_dir=str(tmp_path / 'cache'))) == 1
    ((line, _),) = told
    assert '1 image, 2 files of other kinds left out (2 .heic)' in line
