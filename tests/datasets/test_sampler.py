"""The training order: coverage, independence of the world size, resuming."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mae_plugin.datasets import StreamSampler
from mae_plugin.registry import DATA_SAMPLERS


def samplers(total: int, world: int, batch: int, **options) -> list[StreamSampler]:
    made = []
    for rank in range(world):
        sampler = StreamSampler(range(total), batch_size=batch, seed=7, **options)
        sampler.rank, sampler.world_size = rank, world
        made.append(sampler)
    return made


def stream(total: int, world: int, batch: int, epochs: int, **options) -> list[tuple[int, int]]:
    """The images of all ranks in the order of global batches."""
    merged = []
    ranks = samplers(total, world, batch, **options)
    for _ in range(epochs):
        parts = [list(sampler) for sampler in ranks]
        assert {len(part) for part in parts} == {len(ranks[0])}
        merged += [item for together in zip(*parts, strict=True) for item in together]
    return merged


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 70),
    batch=st.integers(1, 9),
    world=st.sampled_from([1, 2, 3]),
    repeats=st.integers(1, 3),
    shuffle=st.booleans(),
)
def test_every_image_exactly_once_per_pass(total, batch, world, repeats, shuffle):
    epochs = 3 + 2 * total // (batch * world)
    order = stream(total, world, batch, epochs, repeats=repeats, shuffle=shuffle)
    for number in range(len(order) // total):
        part = order[number * total : (number + 1) * total]
        assert [epoch for epoch, _ in part] == [number] * total
        indices = [index for _, index in part]
        assert sorted(indices) == list(range(total))
        if not shuffle:
            assert indices == list(range(total))


@settings(max_examples=40, deadline=None)
@given(total=st.integers(1, 60), world=st.sampled_from([2, 3, 4]), batch=st.integers(1, 4))
def test_order_is_the_same_for_any_world_size(total, world, batch):
    alone = stream(total, 1, batch * world, 4)
    assert stream(total, world, batch, 4) == alone


@settings(max_examples=40, deadline=None)
@given(
    total=st.integers(1, 50),
    batch=st.integers(1, 5),
    world=st.sampled_from([1, 2, 3]),
    iteration=st.integers(0, 40),
)
def test_resuming_at_any_iteration(total, batch, world, iteration):
    whole = stream(total, world, batch, 60)
    for rank, sampler in enumerate(samplers(total, world, batch)):
        sampler.set_position(iteration * batch * world)
        rest = list(sampler)
        first = iteration * batch * world
        assert rest == whole[first + rank : first + len(rest) * world : world]
        per_epoch = len(sampler) // batch
        assert len(rest) == (per_epoch - iteration % per_epoch) * batch
        # And the next epoch follows on.
        assert next(iter(sampler)) == whole[first + len(rest) * world + rank]


def test_epoch_length_is_constant_and_whole_batches():
    (sampler,) = samplers(103, 1, 10)
    assert len(sampler) == 100
    assert len(DataLoader(range(103), batch_size=10, sampler=sampler)) == 10
    (sampler,) = samplers(13, 1, 64)
    assert len(sampler) == 64  # at least one batch, whatever the number of images
    (sampler,) = samplers(13, 1, 64, repeats=10)
    assert len(sampler) == 128


def test_set_epoch_is_the_start_of_that_epoch():
    (sampler,) = samplers(10, 1, 4)
    epochs = [list(sampler) for _ in range(3)]
    sampler.set_epoch(1)
    assert list(sampler) == epochs[1]


def test_passes_and_seeds_differ():
    order = stream(50, 1, 50, 2)
    assert [i for _, i in order[:50]] != [i for _, i in order[50:]]
    other = StreamSampler(range(50), batch_size=50, seed=8)
    assert list(other) != order[:50]


def test_breaking_off_an_epoch_leaves_the_position():
    (sampler,) = samplers(20, 1, 5)
    first = next(iter(sampler))
    assert next(iter(sampler)) == first


def test_dataset_without_a_seed_gets_the_samplers():
    class Images(list):
        seed = None

    images, fixed = Images([1]), Images([1])
    fixed.seed = 3
    for dataset in (images, fixed):
        DATA_SAMPLERS.build(dict(type='StreamSampler', dataset=dataset, batch_size=1, seed=5))
    assert (images.seed, fixed.seed) == (5, 3)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(dataset=[], batch_size=1), 'empty'),
        (dict(dataset=[1], batch_size=0), 'batch_size=0'),
        (dict(dataset=[1], batch_size=1, repeats=0), 'repeats=0'),
    ],
)
def test_senseless_options(options, message):
    with pytest.raises(ValueError, match=message):
        StreamSampler(seed=0, **options)


def test_position_within_a_batch_is_refused():
    (sampler,) = samplers(20, 1, 5)
    with pytest.raises(ValueError, match='position=7'):
        sampler.set_position(7)


def test_missing_batch_size_is_named():
    with pytest.raises(ValueError, match='batch_size'):
        len(StreamSampler([1], seed=0))
