"""Soft curation: each image as often as its loss says, in one order for any run."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from photos import write_photos
from PIL import Image

from mae_plugin.datasets import ConcatDataset, CuratedSampler, ImageFolder, WindowFolder
from mae_plugin.datasets.image_scores import ImageScores, image_names
from mae_plugin.datasets.path_list import PathList
from mae_plugin.errors import UserError


class Named:
    """As much of a data set as the sampler asks for."""

    def __init__(self, names):
        self.names = list(names)

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return self.names[index]


def written(path, losses, names=None):
    names = names or [f'{number}.jpg' for number in range(len(losses))]
    ImageScores(PathList.of(names), np.array(losses, np.float32), {}).save(path)
    return str(path)


def samplers(file, total, world=1, batch=1, **options):
    made = []
    for rank in range(world):
        images = Named(f'{number}.jpg' for number in range(total))
        sampler = CuratedSampler(images, scores=file, batch_size=batch, seed=7, **options)
        sampler.rank, sampler.world_size = rank, world
        made.append(sampler)
    return made


def stream(ranks, epochs):
    """The images of all ranks in the order of global batches."""
    merged = []
    for _ in range(epochs):
        parts = [list(sampler) for sampler in ranks]
        merged += [item for together in zip(*parts, strict=True) for item in together]
    return merged


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('scores')


losses_of = st.lists(st.floats(0, 1.5, width=32), min_size=2, max_size=60)


@settings(max_examples=50, deadline=None)
@given(losses=losses_of, batch=st.integers(1, 5), world=st.sampled_from([1, 2, 3]))
def test_passes_are_of_one_size_and_hold_no_image_twice(folder, losses, batch, world):
    kept = int(np.clip(np.array(losses, np.float64), 0, 1).sum())
    assume(kept >= 1)
    file = written(folder / 'a.npz', losses)
    order = stream(samplers(file, len(losses), world, batch), 3 + 2 * kept // (batch * world))
    for number in range(len(order) // kept):
        part = order[number * kept : (number + 1) * kept]
        assert [epoch for epoch, _ in part] == [number] * kept
        indices = [index for _, index in part]
        assert len(set(indices)) == kept
        assert all(losses[index] > 0 for index in indices)


def test_an_image_comes_as_often_as_its_loss_says(folder):
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.random(40) ** 2, [0.0, 1.0, 1.7]]).astype(np.float32)
    (sampler,) = samplers(written(folder / 'b.npz', losses), len(losses))
    passes = 4000
    counts = np.zeros(len(losses))
    for number in range(passes):
        counts[sampler.permutation(number)] += 1
    shares = np.clip(losses.astype(np.float64), 0, 1)
    expected = shares * (int(shares.sum()) / shares.sum())
    spread = np.sqrt(expected * (1 - expected) / passes)
    assert (np.abs(counts / passes - expected) <= 4.5 * spread).all()
    assert counts[40] == 0
    # In an order of its own in each pass, not that of the file.
    first = [sampler.permutation(number)[0] for number in range(50)]
    assert len(set(first)) > 10


@settings(max_examples=20, deadline=None)
@given(losses=losses_of, world=st.sampled_from([2, 3]), batch=st.integers(1, 3))
def test_order_is_the_same_for_any_world_size_and_after_resuming(folder, losses, world, batch):
    assume(np.clip(losses, 0, 1).sum() >= 1)
    file = written(folder / 'c.npz', losses)
    alone = stream(samplers(file, len(losses), 1, batch * world), 4)
    assert stream(samplers(file, len(losses), world, batch), 4) == alone
    whole = batch * world
    for iteration in (0, 1, len(alone) // whole // 2):
        resumed = samplers(file, len(losses), world, batch)
        for sampler in resumed:
            sampler.set_position(iteration * whole)
        rest = stream(resumed, 1)
        assert rest == alone[iteration * whole :][: len(rest)]


def test_full_says_which_loss_is_always_kept(folder):
    file = written(folder / 'd.npz', [0.1, 0.2, 0.05, 0.2])
    (sampler,) = samplers(file, 4, full=0.1)
    assert sampler.pass_size == 3
    np.testing.assert_allclose(sampler.probabilities, np.array([1, 1, 0.5, 1]) * 3 / 3.5)
    with pytest.raises(UserError, match=r'add up to 0.55.*lower full=1'):
        samplers(file, 4)
    with pytest.raises(UserError, match='full=0 must be positive'):
        samplers(file, 4, full=0)


def test_scores_follow_the_names(folder):
    names = [f'{number}.jpg' for number in (3, 1, 0, 2)]
    file = written(folder / 'e.npz', [0.3, 0.9, 0.8, 0.7], names)
    (sampler,) = samplers(file, 4)
    expected = np.array([0.8, 0.9, 0.7, 0.3])
    np.testing.assert_allclose(sampler.probabilities, expected * 2 / 2.7, rtol=1e-6)


def test_images_without_a_loss_are_named_with_the_way_out(folder):
    file = written(folder / 'f.npz', [0.5, np.nan, 0.9])
    with pytest.raises(UserError, match=r"no loss of 2 of 4 images, the first '1.jpg': run tools"):
        samplers(file, 4)
    with pytest.raises(UserError, match=r'no scores .*missing\.npz'):
        samplers(str(folder / 'missing.npz'), 4)
    whole = (folder / 'f.npz').read_bytes()
    np.savez(folder / 'other.npz', names=np.zeros(3, np.uint8))
    others = (folder / 'other.npz').read_bytes()
    for content in (b'losses', b'', whole[:-30], others):
        (folder / 'odd.npz').write_bytes(content)
        with pytest.raises(UserError, match=r'odd\.npz.* holds no scores of images'):
            samplers(str(folder / 'odd.npz'), 4)
    with pytest.raises(UserError, match='range does not tell'):
        CuratedSampler(range(4), scores=file, batch_size=1, seed=1)


def test_names_stay_where_a_folder_is_moved(tmp_path):
    for place in ('one', 'two'):
        write_photos(tmp_path / place / 'sub', 3)
    one, two = (ImageFolder(str(tmp_path / place), index_cache=False) for place in ('one', 'two'))
    assert list(image_names(one)) == list(image_names(two))
    both = list(image_names(ConcatDataset([one, two])))
    assert len(set(both)) == 6
    (tmp_path / 'scenes').mkdir()
    Image.new('L', (32, 32)).save(tmp_path / 'scenes' / 'scene.tif')
    with pytest.raises(UserError, match='WindowFolder are windows'):
        image_names(WindowFolder(str(tmp_path / 'scenes'), window=8, index_cache=False))


def test_facts_and_names_come_back(folder):
    names = ['ä b.jpg', 'x/ÿ.png']
    scores = ImageScores(PathList.of(names), np.array([1, np.nan], np.float32), dict(a=[1, 'b']))
    scores.save(folder / 'g.npz')
    again = ImageScores.load(folder / 'g.npz')
    assert list(again.names) == names and again.facts == json.loads(json.dumps(scores.facts))
    np.testing.assert_array_equal(again.scores, scores.scores)
