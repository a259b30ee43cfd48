"""Tar shards: written from a folder, read at random, never trusted."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from photos import encode, photo, write_photos
from tars import make_shards, pack, shards, write_tar
from torch.utils.data import DataLoader

from mae_plugin.datasets import ImageFolder, StreamSampler, stack_collate
from mae_plugin.datasets.shards.shard_index import ShardIndex, is_safe_name
from mae_plugin.datasets.shards.shard_store import expand_shards, shard_name


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def packed(tmp_path):
    """A folder of 11 labelled photos and its shards of 4."""
    return pack(tmp_path)


def test_shards_hold_every_image_and_label_once(packed):
    folder = ImageFolder(str(packed / 'images'), index_cache=False)
    dataset = shards(str(packed / 'shards'))
    assert len(dataset) == 11 and dataset.metainfo == folder.metainfo
    assert sorted(p.name for p in (packed / 'shards').glob('*.tar')) == [
        f'images-{number:05d}.tar' for number in range(3)
    ]
    located = [dataset.locate(i) for i in range(11)]
    contents = sorted((entry['img_bytes'], entry['gt_label']) for entry in located)
    expected = sorted(
        (Path(folder.path(i)).read_bytes(), folder.locate(i)['gt_label']) for i in range(11)
    )
    assert contents == expected
    names = [entry['img_path'] for entry in located]
    assert len(set(names)) == 11 and all('.tar/' in name for name in names)
    assert shards(str(packed / 'shards'), labels=False).metainfo == {}


def test_webdataset_reads_what_we_write(packed):
    import webdataset as wds

    urls = expand_shards(str(packed / 'shards'))
    samples = list(wds.WebDataset(urls, shardshuffle=False))
    assert len(samples) == 11
    assert {sample['cls'] for sample in samples} == {b'0', b'1'}
    assert all(sample['jpg'][:2] == b'\xff\xd8' for sample in samples)


def test_we_read_what_webdataset_writes(tmp_path):
    import webdataset as wds

    with wds.TarWriter(str(tmp_path / 'a.tar')) as writer:
        for number in range(3):
            content = encode(photo(40, 30))
            writer.write({'__key__': f'x/{number}', 'jpg': content, 'cls': number, 'json': {}})
    dataset = shards(str(tmp_path))
    assert [dataset.locate(i)['gt_label'] for i in range(3)] == [0, 1, 2]


def test_interrupted_packing_goes_on(packed, capsys):
    arguments = [packed / 'images', packed / 'shards', '--per-shard', '4']
    paths = sorted((packed / 'shards').glob('*.tar'))
    before = [path.read_bytes() for path in paths]
    stamps = [path.stat().st_mtime_ns for path in paths]
    paths[1].unlink()
    (packed / 'shards/index.npz').unlink()
    (packed / 'shards/images-00001.part').write_bytes(b'half')
    make_shards(*arguments)
    assert [path.read_bytes() for path in paths] == before
    after = [path.stat().st_mtime_ns for path in paths]
    assert (after[0], after[2]) == (stamps[0], stamps[2])
    assert not list((packed / 'shards').glob('*.part'))
    with pytest.raises(SystemExit):
        make_shards(*arguments[:2], '--per-shard', '5')
    assert 'per_shard=4' in capsys.readouterr().err


def test_packing_leaves_out_what_cannot_be_read(tmp_path, capsys):
    write_photos(tmp_path / 'images', 3)
    os.symlink(tmp_path / 'nothing', tmp_path / 'images' / 'gone.jpg')
    make_shards(tmp_path / 'images', tmp_path / 'shards')
    assert 'gone.jpg' in capsys.readouterr().err
    assert len(shards(str(tmp_path / 'shards'))) == 3


def stream(dataset, workers: int, start: int = 0, epochs: int = 2) -> list:
    sampler = StreamSampler(dataset, batch_size=2, seed=5)
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers, collate_fn=stack_collate)
    sampler.set_position(start * 2)
    found = []
    for _ in range(epochs):
        for batch in loader:
            found.append(
                (batch['inputs'].sum().item(), [s.img_path for s in batch['data_samples']])
            )
    return found


def test_passes_are_complete_local_and_resumable(packed):
    dataset = shards(str(packed / 'shards'), window=1)
    alone = stream(dataset, 0)
    assert stream(dataset, 2) == alone
    assert stream(dataset, 2, start=3)[: len(alone) - 3] == alone[3:]
    order = [path for _, paths in alone for path in paths]
    assert len(set(order[:11])) == 11
    visited = [path.split('/images-')[1][:5] for path in order[:11]]
    assert len(list(itertools.groupby(visited))) == 3
    rng = np.random.default_rng
    wide = shards(str(packed / 'shards'), window=16)
    for one in (dataset, wide):
        assert sorted(one.permutation(rng(3))) == list(range(11))
        assert (one.permutation(rng(3)) == one.permutation(rng(3))).all()
    assert (wide.permutation(rng(3)) != wide.permutation(rng(4))).any()


@pytest.mark.parametrize(
    'name', ['../evil.jpg', '/etc/evil.jpg', 'a/../../evil.jpg', '..', '..\\evil.jpg']
)
def test_members_that_point_outside_are_refused(tmp_path, name):
    write_tar(tmp_path / 'a.tar', {'good.jpg': encode(photo(9, 9)), name: b'x'})
    with pytest.raises(ValueError, match='points outside'):
        shards(str(tmp_path))
    assert not is_safe_name(name) and is_safe_name('a/..b/c.jpg')
    assert {path.name for path in tmp_path.iterdir()} <= {'a.tar', 'cache'}


def test_links_and_other_files_are_not_read(tmp_path):
    (tmp_path / 'secret.jpg').write_bytes(encode(photo(9, 9)))
    members = {'a.jpg': encode(photo(9, 9)), 'b.jpg': str(tmp_path / 'secret.jpg'), 'c.txt': b'x'}
    write_tar(tmp_path / 'a.tar', members)
    dataset = shards(str(tmp_path))
    assert len(dataset) == 1 and dataset.path(0).endswith('a.tar/a.jpg')


def test_index_is_renewed_when_a_shard_changes(tmp_path):
    picture = encode(photo(40, 30))
    write_tar(tmp_path / 'a.tar', {'0.jpg': picture})
    assert len(shards(str(tmp_path))) == 1
    size = (tmp_path / 'a.tar').stat().st_size
    write_tar(tmp_path / 'a.tar', {f'{n}.jpg': picture for n in range(3)})
    assert (tmp_path / 'a.tar').stat().st_size == size  # tar pads: sizes do not tell
    assert len(shards(str(tmp_path))) == 3


def test_broken_members_are_replaced_and_named(tmp_path):
    log = tmp_path / 'bad.txt'
    write_tar(tmp_path / 'a.tar', {'0.jpg': encode(photo(40, 30)), '1.jpg': b'', '2.jpg': b'junk'})
    dataset = shards(str(tmp_path), bad_images=dict(max_share=1.0, log_file=str(log)))
    assert {dataset[i]['data_samples'].img_path for i in range(3)} == {f'{tmp_path}/a.tar/0.jpg'}
    assert [line.split('\t')[0] for line in log.read_text().splitlines()] == [
        f'{tmp_path}/a.tar/1.jpg', f'{tmp_path}/a.tar/2.jpg',
    ]  # fmt: skip


def test_a_shard_that_shrinks_during_the_run(packed):
    dataset = shards(str(packed / 'shards'), bad_images=dict(max_share=1.0))
    os.truncate(packed / 'shards/images-00001.tar', 600)
    paths = {dataset[i]['data_samples'].img_path for i in range(11)}
    assert not any('00001.tar' in path for path in paths)


def test_truncated_and_foreign_shards_are_named(packed, tmp_path):
    index = packed / 'shards/index.npz'
    index.unlink()
    path = packed / 'shards/images-00001.tar'
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r'images-00001\.tar is no whole'):
        shards(str(packed / 'shards'))
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b/x.tar').write_bytes(b'not a tar file at all' * 100)
    with pytest.raises(ValueError, match=r'x\.tar is no whole'):
        shards(str(tmp_path / 'b'))


def test_missing_shards_and_labels(tmp_path):
    with pytest.raises(ValueError, match=r'tools/make_shards\.py'):
        shards(str(tmp_path / 'nowhere'))
    write_tar(tmp_path / 'a.tar', {'readme.txt': b'x'})
    with pytest.raises(ValueError, match='hold no image'):
        shards(str(tmp_path))
    write_tar(tmp_path / 'a.tar', {'1.jpg': b'x', '1.cls': b'0', '2.jpg': b'x'})
    assert shards(str(tmp_path)).labelled is False
    with pytest.raises(ValueError, match='labels=False'):
        shards(str(tmp_path), labels=True)
    with pytest.raises(ValueError, match='window=0'):
        shards(str(tmp_path), window=0)


def forged(tmp_path, **changes) -> str:
    write_tar(tmp_path / 'a.tar', {'0.jpg': encode(photo(9, 9))})
    index = ShardIndex.scan([str(tmp_path / 'a.tar')], ('.jpg',), ['a.tar'])
    for name, value in changes.items():
        setattr(index, name, value)
    index.save(tmp_path / 'forged.npz')
    return str(tmp_path / 'forged.npz')


@pytest.mark.parametrize(
    'changes',
    [
        dict(data=np.array([[0, 10**15]])),  # would read a petabyte
        dict(data=np.array([[-5, 10]])),
        dict(shard_of=np.array([7], np.int32)),
        dict(label=np.array([0, 1], np.int32)),
    ],
)
def test_impossible_indices_are_refused(tmp_path, changes):
    with pytest.raises(ValueError, match='contradicts itself'):
        shards(str(tmp_path), index=forged(tmp_path, **changes))


def test_an_index_that_would_run_code_is_refused(tmp_path):
    class Boom:
        def __reduce__(self):
            return open, (str(tmp_path / 'EXECUTED'), 'w')

    write_tar(tmp_path / 'a.tar', {'0.jpg': encode(photo(9, 9))})
    np.savez(tmp_path / 'evil.npz', shards=np.array([Boom()], dtype=object))
    with pytest.raises(ValueError, match='no sound index'):
        shards(str(tmp_path), index=str(tmp_path / 'evil.npz'))
    np.savez(tmp_path / 'index.npz', shards=np.array([Boom()], dtype=object))
    assert len(shards(str(tmp_path))) == 1  # made again
    assert not (tmp_path / 'EXECUTED').exists()


def test_names_of_shards():
    assert shard_name('pipe:aws s3 cp s3://bucket/x/a-01.tar -') == 'a-01.tar'
    assert shard_name('https://host/x/a-01.tar?token=1') == 'a-01.tar'
    assert shard_name('/data/my shards/a b.tar') == 'a b.tar'
    assert expand_shards('https://h/x-{00..02}.tar') == [f'https://h/x-0{n}.tar' for n in range(3)]
