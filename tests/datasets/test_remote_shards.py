"""Shards behind pipes: fetched whole, once, and at no image's cost when that fails."""

import os
import resource

import pytest
import torch
from tars import pack, shards
from torch.utils.data import DataLoader

from mae_plugin.datasets import StreamSampler, stack_collate
from mae_plugin.datasets.shards import shard_store
from mae_plugin.datasets.shards.shard_store import ShardError


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(shard_store, '_BACK_OFF', (0.0, 0.0, 0.0))


@pytest.fixture
def packed(tmp_path):
    """11 photos in shards of 4, with ``local`` and, through pipes that keep a tally, ``urls``."""
    return Packed(pack(tmp_path))


class Packed:
    def __init__(self, folder):
        self.folder = folder
        self.index = str(folder / 'shards/index.npz')
        self.local = shards(str(folder / 'shards'))
        self.paths = sorted(folder.glob('shards/*.tar'))
        self.urls = [f'pipe:echo x >> {folder}/tally; cat {path}' for path in self.paths]

    def fetches(self):
        return (self.folder / 'tally').read_text().count('x')

    def cached(self, name):
        return sorted((self.folder / name).glob('*.tar'))

    def remote(self, urls=None, name='fetched', **options):
        return shards(urls or self.urls, cache_dir=str(self.folder / name), **options)


def same_images(one, other):
    return all(torch.equal(one[(2, i)]['inputs'], other[(2, i)]['inputs']) for i in range(11))


def test_pipes_are_fetched_once_and_evicted(packed):
    first, second = packed.remote(), packed.remote()
    assert same_images(first, packed.local) and same_images(second, packed.local)
    assert packed.fetches() == 3

    few = packed.remote(name='few', index=packed.index, max_cached=2)
    assert not (packed.folder / 'few').exists()  # the index was enough to start
    assert same_images(few, packed.local)
    assert len(packed.cached('few')) == 2


def test_without_an_index_each_is_fetched_once_to_make_it_and_none_again(packed):
    packed.remote(max_cached=1)
    assert packed.fetches() == 3 and len(packed.cached('fetched')) == 1
    again = packed.remote(max_cached=1)
    assert packed.fetches() == 3
    assert same_images(again, packed.local)


def test_workers_that_evict_each_others_shards_lose_no_image(packed):
    dataset = packed.remote(index=packed.index, max_cached=1, window=3)
    sampler = StreamSampler(dataset, batch_size=1, seed=3, repeats=4)
    loader = DataLoader(
        dataset, 1, sampler=sampler, num_workers=4, collate_fn=stack_collate, prefetch_factor=1
    )
    seen = [batch['data_samples'][0].img_path for batch in loader]
    assert len(seen) == 44 and len(set(seen)) == 11
    assert dataset.bad_images.counts() == (44, 0)
    assert len(packed.cached('fetched')) == 1
    assert not list((packed.folder / 'fetched').glob('*.part'))


def test_room_is_given_back_when_an_evicted_shard_is_no_longer_read(packed):
    dataset = packed.remote(index=packed.index, max_cached=1)
    for shard in range(3):
        dataset[int(dataset.index.shard_of.searchsorted(shard))]
    opened = [os.path.realpath(entry.path) for entry in os.scandir('/proc/self/fd')]
    ours = [path for path in opened if str(packed.folder) in path]
    assert len(ours) <= 2 and sum(path.endswith('(deleted)') for path in ours) <= 1


def test_a_fetch_that_fails_twice_costs_nothing(packed):
    tries = packed.folder / 'tries'
    urls = [
        f'pipe:echo x >> {tries}; [ $(wc -l < {tries}) -gt 2 ] && cat {path}'
        for path in packed.paths
    ]
    dataset = packed.remote(urls, index=packed.index)
    assert same_images(dataset, packed.local)
    assert dataset.bad_images.counts()[1] == 0


@pytest.mark.parametrize('command', ['head -c 2000 {}; exit 3', 'head -c 2000 {}'])
def test_a_fetch_that_goes_on_failing_is_no_images_fault(packed, command):
    urls = [f'pipe:echo x >> {packed.folder}/tally; {command.format(p)}' for p in packed.paths]
    dataset = packed.remote(urls, index=packed.index)
    with pytest.raises(ShardError, match=r'images-00000\.tar could not be fetched in 4 attempts'):
        dataset[0]
    assert packed.fetches() == 4
    assert dataset.bad_images.counts()[1] == 0
    assert not list((packed.folder / 'fetched').glob('*.part')) + packed.cached('fetched')


def test_a_full_disk_is_no_images_fault_and_is_not_tried_again(packed):
    dataset = packed.remote(index=packed.index)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ShardError, match=r'no room for .*max_cached'):
            dataset[0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert packed.fetches() == 1
    assert dataset.bad_images.counts()[1] == 0


def test_a_cached_shard_of_another_size_is_fetched_again(packed):
    dataset = packed.remote(index=packed.index)
    dataset[0]
    (path,) = packed.cached('fetched')
    path.write_bytes(b'of an older release')
    assert same_images(packed.remote(index=packed.index), packed.local)
