"""iNaturalist's annotations become lists that the image datasets read."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'tools'))

from convert_inaturalist import convert

from mae_plugin.datasets import ImageFolder


def write(path, classes=(0, 1)):
    content = dict(
        images=[dict(id=7, file_name='train/b 1.jpg'), dict(id=3, file_name='train/a.jpg')],
        annotations=[dict(image_id=3, category_id=0), dict(image_id=7, category_id=1)],
        categories=[dict(id=number) for number in classes],
    )
    path.write_text(json.dumps(content))
    return path


def test_the_list_is_read_back_with_its_labels(tmp_path):
    target = convert(write(tmp_path / 'train2018.json'))
    assert target.read_text() == 'train/b 1.jpg 1\ntrain/a.jpg 0\n'
    dataset = ImageFolder(str(tmp_path), ann_file='train2018.txt')
    assert [dataset.locate(i)['gt_label'] for i in range(2)] == [1, 0]
    assert dataset.locate(0)['img_path'].endswith('train/b 1.jpg')


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match='no annotation file'):
        convert(tmp_path / 'missing.json')
    with pytest.raises(ValueError, match='from 0'):
        convert(write(tmp_path / 'odd.json', classes=(1, 2)))
    (tmp_path / 'coco.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match='annotations, categories'):
        convert(tmp_path / 'coco.json')
