"""Folders of images: order, labels, odd names, errors."""

import os

import pytest
from photos import touch, write_photos

from mae_plugin.datasets import ImageFolder
from mae_plugin.errors import UserError
from mae_plugin.registry import DATASETS


def folder(root, **options) -> ImageFolder:
    return ImageFolder(str(root), index_cache=False, **options)


def names(dataset: ImageFolder) -> list[str]:
    return list(dataset.paths)


def test_lists_recursively_in_the_order_of_names(tmp_path):
    files = ['b/2.jpg', 'b/10.JPEG', 'a/x/y/z.Png', 'a/x.webp', 'c.tiff', 'ä/ö ü.bmp', 'a.b/1.npy']
    touch(tmp_path, *files, 'notes.txt', '.hidden.jpg', '.git/1.jpg', 'b/jpg')
    expected = sorted(
        path.relative_to(tmp_path)
        for path in tmp_path.rglob('*')
        if str(path.relative_to(tmp_path)) in files
    )
    assert names(folder(tmp_path)) == [str(path) for path in expected]
    assert len(expected) == len(files)


def test_names_that_are_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b'/caf\xe9\n.jpg'
    with open(raw, 'wb') as file:
        file.write(b'x')
    dataset = folder(tmp_path)
    assert os.fsencode(dataset.path(0)) == raw


def test_labels_are_the_top_folders(tmp_path):
    touch(
        tmp_path, 'train/cat/1.jpg', 'train/dog/deep/2.jpg', 'train/dog/3.jpg', 'train/ant/x.txt'
    )
    dataset = folder(tmp_path, data_prefix='train')
    assert dataset.metainfo == dict(classes=('ant', 'cat', 'dog'))
    found = {dataset.paths[i]: dataset.locate(i)['gt_label'] for i in range(3)}
    assert found == {'cat/1.jpg': 1, 'dog/deep/2.jpg': 2, 'dog/3.jpg': 2}
    prefixed = folder(tmp_path, data_prefix=dict(img_path='train'), classes=['dog', 'cat'])
    assert [prefixed.locate(i)['gt_label'] for i in range(3)] == [1, 0, 0]
    assert folder(tmp_path, data_prefix='train', labels=False).metainfo == {}


def test_labels_auto_needs_every_image_in_a_class_folder(tmp_path):
    touch(tmp_path, 'a/1.jpg', 'b/2.jpg', 'loose.jpg')
    assert folder(tmp_path).labels is None
    with pytest.raises(ValueError, match=r"'loose.jpg'.*labels=False"):
        folder(tmp_path, labels=True)
    (tmp_path / 'loose.jpg').unlink()
    assert list(folder(tmp_path).labels) == [0, 1]
    touch(tmp_path / 'one', 'x/1.jpg')
    assert folder(tmp_path / 'one').labels is None
    assert list(folder(tmp_path / 'one', labels=True).labels) == [0]


def test_annotation_files(tmp_path):
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta/val.txt').write_text('a b.jpg 3\nc.jpg 0\n\n')
    (tmp_path / 'meta/plain.txt').write_text('c.jpg\nd 2.jpg\n')
    (tmp_path / 'val').mkdir()
    labelled = folder(tmp_path, data_prefix='val', ann_file='meta/val.txt', classes=list('wxyz'))
    assert [labelled.locate(i)['gt_label'] for i in range(2)] == [3, 0]
    assert labelled.path(0) == str(tmp_path / 'val/a b.jpg')
    assert labelled.metainfo['classes'] == tuple('wxyz')
    plain = folder(tmp_path, ann_file='meta/plain.txt')
    assert names(plain) == ['c.jpg', 'd 2.jpg'] and plain.labels is None
    with pytest.raises(ValueError, match='without a label'):
        folder(tmp_path, ann_file='meta/plain.txt', labels=True)
    with pytest.raises(ValueError, match=r'nothing\.txt'):
        folder(tmp_path, ann_file='nothing.txt')


def test_missing_and_empty_folders_name_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r'does not exist.*--data-root.*make demo') as missing:
        folder(tmp_path / 'imagenet')
    touch(tmp_path, 'a/readme.txt')
    with pytest.raises(ValueError, match=r'holds no image.*--data-root.*make demo') as empty:
        folder(tmp_path)
    for error in (missing, empty):
        assert str(tmp_path) in str(error.value) and '\n' not in str(error.value)
    with pytest.raises(ValueError, match='labels='):
        folder(tmp_path, labels='yes')


def test_builds_from_any_scope_and_makes_samples(tmp_path):
    write_photos(tmp_path / 'cat', 2)
    write_photos(tmp_path / 'dog', 1)
    pipeline = [dict(type='LoadRandomResizedCrop', size=32), dict(type='PackInputs')]
    dataset = DATASETS.build(
        dict(
            type='mae_plugin.ImageFolder',
            data_root=str(tmp_path),
            pipeline=pipeline,
            index_cache=False,
        )
    )
    sample = dataset[(4, 2)]
    assert sample['inputs'].shape == (3, 32, 32)
    element = sample['data_samples']
    assert element.img_path == str(tmp_path / 'dog/0000.jpg')
    assert element.ori_shape == (72, 96) and int(element.gt_label) == 1
    keys = {dataset[item]['data_samples'].sample_key for item in (0, (0, 1), (1, 0), (1, 1))}
    assert len(keys) == 4 and dataset[0]['data_samples'].sample_key in keys
    assert dataset[-1]['data_samples'].img_path == element.img_path
    with pytest.raises(IndexError):
        dataset[3]


def test_default_cache_lies_in_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    touch(tmp_path / 'images', 'a/1.jpg')
    ImageFolder(str(tmp_path / 'images'))
    assert len(list((tmp_path / 'cache/mae_plugin').glob('*.npz'))) == 1


@pytest.mark.parametrize('classes', ['train', ('ant', 'bee', 'cat')])
@pytest.mark.parametrize('labels', ['auto', True])
def test_every_split_has_the_labels_of_training(tmp_path, classes, labels):
    touch(tmp_path, 'train/ant/1.jpg', 'train/bee/2.jpg', 'train/cat/3.jpg')
    touch(tmp_path, 'val/ant/4.jpg', 'val/cat/5.jpg', 'one/cat/6.jpg')
    for prefix, expected in (('train', [0, 1, 2]), ('val', [0, 2]), ('one', [2])):
        found = folder(tmp_path, data_prefix=prefix, classes=classes, labels=labels)
        assert list(found.labels) == expected
        assert found.metainfo == dict(classes=('ant', 'bee', 'cat'))


@pytest.mark.parametrize('labels', ['auto', True])
def test_a_class_that_training_lacks_is_named(tmp_path, labels):
    touch(tmp_path, 'train/ant/1.jpg', 'train/bee/2.jpg', 'val/ant/3.jpg', 'val/owl/4.jpg')
    (tmp_path / 'val/empty').mkdir()  # without images, it is no matter
    with pytest.raises(UserError) as error:
        folder(tmp_path, data_prefix='val', classes='train', labels=labels)
    message = str(error.value)
    assert f"{tmp_path}/val' has a folder 'owl', which is none of the 2 classes" in message
    assert '(ant, bee)' in message and 'add it to the training images' in message
    with pytest.raises(UserError, match=r"sub-folders of '.*nowhere', which does not exist"):
        folder(tmp_path, data_prefix='val', classes='nowhere', labels=labels)
    assert folder(tmp_path, data_prefix='val', classes='train', labels=False).labels is None
