"""Several folders and shards as one data set, under the laws of one."""

import mmengine.dataset  # noqa: F401 - registers its wrapper
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image

from mae_plugin.datasets.concat import ConcatDataset
from mae_plugin.datasets.image_folder import ImageFolder
from mae_plugin.datasets.sampler import StreamSampler
from mae_plugin.errors import UserError

PIPELINE = [dict(type='LoadRandomResizedCrop', size=8), dict(type='PackInputs')]


def folder(path, values, classes=()):
    """One small picture of each grey value; in folders of their classes, if any."""
    for index, value in enumerate(values):
        place = path / (classes[index % len(classes)] if classes else '')
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 12, 3), value, np.uint8)).save(place / f'{value:03d}.png')
    return dict(
        type='ImageFolder', data_root=str(path), pipeline=PIPELINE, index_cache=False,
        labels='auto' if classes else False,
    )  # fmt: skip


@pytest.fixture
def parts(tmp_path):
    return [folder(tmp_path / 'a', [10, 20, 30]), folder(tmp_path / 'b', [40, 50])]


def value_of(sample):
    return int(sample['inputs'].float().mean())


def test_every_image_once_in_the_order_of_the_parts(parts):
    whole = ConcatDataset(parts)
    assert len(whole) == 5
    assert [value_of(whole[i]) for i in range(5)] == [10, 20, 30, 40, 50]
    assert value_of(whole[-1]) == 50
    with pytest.raises(IndexError):
        whole[5]
    assert whole.path(3).endswith('b/040.png')


def test_the_sampler_of_pretraining(parts):
    whole = ConcatDataset(parts)
    sampler = StreamSampler(whole, batch_size=5, seed=3)
    first, second = list(sampler), list(sampler)
    assert sorted(index for _, index in first) == list(range(5))
    assert first != second and {turn for turn, _ in second} == {1}
    assert whole.seed == 3
    assert {value_of(whole[key]) for key in first} == {10, 20, 30, 40, 50}


def test_crops_and_masks_follow_from_the_place_in_the_whole(tmp_path):
    """The first image of the second part is another sample than that of the first."""
    same = [folder(tmp_path / name, [10]) for name in 'ab']
    whole = ConcatDataset(same, seed=1)
    keys = [whole[(0, i)]['data_samples'].sample_key for i in range(2)]
    alone = ImageFolder(**{k: v for k, v in same[0].items() if k != 'type'}, seed=1)
    assert keys[0] != keys[1] and keys[0] == alone[(0, 0)]['data_samples'].sample_key
    assert torch.equal(whole[(2, 1)]['inputs'], whole[(2, 1)]['inputs'])


def test_each_part_has_its_own_pipeline(parts):
    parts[1] = dict(parts[1], pipeline=[dict(PIPELINE[0], size=4), PIPELINE[1]])
    whole = ConcatDataset(parts)
    assert [tuple(whole[i]['inputs'].shape[1:]) for i in (0, 4)] == [(8, 8), (4, 4)]


def test_a_bad_image_is_replaced_by_one_of_the_whole_and_named(parts, tmp_path):
    (tmp_path / 'b' / '040.png').write_bytes(b'')
    log = str(tmp_path / 'bad.txt')
    whole = ConcatDataset(parts, bad_images=dict(max_share=1, log_file=log))
    values = {value_of(whole[(turn, 3)]) for turn in range(40)}
    assert values == {10, 20, 30, 50}
    assert 'b/040.png' in (tmp_path / 'bad.txt').read_text()


class Ordered(ImageFolder):
    """A part with an order of its own, as shards have: descending."""

    def permutation(self, rng):
        return np.arange(len(self))[::-1]


def test_a_part_keeps_its_own_order(tmp_path, parts):
    config = {k: v for k, v in folder(tmp_path / 'c', range(60, 80)).items() if k != 'type'}
    whole = ConcatDataset([*parts, Ordered(**config)])
    orders = [whole.permutation(np.random.default_rng(seed)) for seed in range(200)]
    for order in orders:
        assert sorted(order) == list(range(25))
        assert [i for i in order if i >= 5] == list(range(24, 4, -1))
    # The others come anywhere: their mean place is the middle.
    places = [np.flatnonzero(order == 2)[0] for order in orders]
    assert abs(np.mean(places) - 12) < 3 * 7.2 / np.sqrt(200)


def test_labels_and_classes(tmp_path):
    same = [folder(tmp_path / name, [10, 20], ['x', 'y']) for name in 'ab']
    whole = ConcatDataset(same)
    assert whole.metainfo == dict(classes=('x', 'y'))
    assert [int(whole[i]['data_samples'].gt_label) for i in range(4)] == [0, 1, 0, 1]
    other = folder(tmp_path / 'c', [10, 20], ['x', 'z'])
    with pytest.raises(UserError, match=r"different classes, \('x', 'z'\)"):
        ConcatDataset([same[0], other])


def test_what_cannot_be_joined():
    with pytest.raises(UserError, match='at least one'):
        ConcatDataset([])
    with pytest.raises(UserError, match='not list'):
        ConcatDataset([[1, 2]])


def test_mmengine_s_own_wrapper_takes_folders(parts):
    config = dict(type='mmengine.ConcatDataset', datasets=[
        dict(part, type='mae_plugin.ImageFolder') for part in parts
    ])  # fmt: skip
    whole = DATASETS.build(config)
    assert [value_of(whole[i]) for i in range(5)] == [10, 20, 30, 40, 50]
