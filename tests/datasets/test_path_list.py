"""Listing a folder: links, unreadable folders, the cached index, and paths by the million."""

import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from photos import touch

from mae_plugin.datasets import ImageFolder
from mae_plugin.datasets.decoding.decode import ImageSource
from mae_plugin.datasets.folder_listing import FolderListing, list_folder
from mae_plugin.datasets.path_list import PathList


def folder(root) -> ImageFolder:
    return ImageFolder(str(root), index_cache=False)


def names(dataset: ImageFolder) -> list[str]:
    return list(dataset.paths)


def test_symlinks_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, 'a/1.jpg', 'other/2.jpg')
    root = tmp_path / 'root'
    root.mkdir()
    os.symlink(tmp_path / 'a', root / 'linked')
    os.symlink(root, root / 'linked-again')
    os.symlink(tmp_path / 'a', tmp_path / 'a' / 'self')
    os.symlink(tmp_path / 'other' / '2.jpg', root / '3.jpg')
    assert names(folder(root)) == ['3.jpg', 'linked/1.jpg']


def test_a_link_to_itself_is_no_folder(tmp_path):
    touch(tmp_path, 'a/1.jpg')
    os.symlink(tmp_path / 'loop', tmp_path / 'loop')
    os.symlink('turn.jpg', tmp_path / 'turn.jpg')  # by its name an image: bad, as a dangling link
    dataset = folder(tmp_path)
    assert names(dataset) == ['a/1.jpg', 'turn.jpg']
    with pytest.raises(OSError) as error:
        ImageSource(dataset.path(1))
    assert dataset.bad_images.is_bad(error.value)
    (tmp_path / 'turn.jpg').unlink()
    touch(tmp_path, 'b/2.jpg')
    assert folder(tmp_path).classes == ('a', 'b')


@pytest.fixture
def unreadable(monkeypatch):
    """A function that forbids a folder; permissions do not bind root."""

    def forbid(*paths):
        scandir, forbidden = os.scandir, set(map(os.fsencode, paths))

        def guarded(path):
            if os.fsencode(path).rstrip(b'/') in forbidden:
                raise PermissionError(errno.EACCES, 'Permission denied', path)
            return scandir(path)

        monkeypatch.setattr(os, 'scandir', guarded)

    return forbid


@pytest.fixture
def warned(monkeypatch):
    """What the scan told the current logger."""
    lines = []
    monkeypatch.setattr(
        'mae_plugin.datasets.folder_listing.log', lambda line, **_: lines.append(line)
    )
    return lines


def test_unreadable_folders_are_left_out_with_one_warning(tmp_path, unreadable, warned):
    touch(tmp_path, 'a/1.jpg', 'lost+found/2.jpg', 'z/private/3.jpg', 'z/4.jpg')
    unreadable(tmp_path / 'lost+found', tmp_path / 'z/private')
    assert names(folder(tmp_path)) == ['a/1.jpg', 'z/4.jpg']
    (line,) = warned
    assert line.startswith(f'2 folders below {tmp_path}') and 'cannot be read' in line
    assert 'lost+found (Permission denied)' in line
    with pytest.raises(PermissionError):
        unreadable(tmp_path)
        folder(tmp_path)


def test_a_folder_that_vanishes_meanwhile_is_left_out(tmp_path, monkeypatch, warned):
    touch(tmp_path, 'a/1.jpg', 'b/2.jpg')
    stat = os.stat

    def late(path, **options):
        if os.fsdecode(path) == str(tmp_path / 'b'):
            shutil.rmtree(path, ignore_errors=True)
        return stat(path, **options)

    monkeypatch.setattr(os, 'stat', late)
    assert names(folder(tmp_path)) == ['a/1.jpg']
    assert len(warned) == 1 and 'b (No such file' in warned[0]


def settle(root) -> None:
    """Let all folders look as if they had not changed for a minute."""
    for path in (root, *root.rglob('*')):
        if path.is_dir():
            old = path.stat().st_mtime_ns - 60_000_000_000
            os.utime(path, ns=(old, old))


def test_index_cache_is_used_until_a_folder_changes(tmp_path):
    root, cache = tmp_path / 'images', tmp_path / 'cache' / 'index.npz'
    touch(root, 'a/1.jpg', 'b/ü.jpg')
    settle(root)
    first = list(list_folder(str(root), ('.jpg',), cache).files)
    stamp = cache.stat().st_mtime_ns, cache.stat().st_ino
    assert first == list(list_folder(str(root), ('.jpg',), cache).files) == ['a/1.jpg', 'b/ü.jpg']
    assert stamp == (cache.stat().st_mtime_ns, cache.stat().st_ino)  # not written again
    assert list(list_folder(str(root), ('.png', '.jpg'), cache).files) == first
    touch(root, 'b/2.jpg')
    assert len(list_folder(str(root), ('.jpg',), cache).files) == 3
    settle(root)
    list_folder(str(root), ('.jpg',), cache)
    (root / 'a/1.jpg').unlink()
    assert list(list_folder(str(root), ('.jpg',), cache).files) == ['b/2.jpg', 'b/ü.jpg']


def test_a_fresh_change_is_never_hidden_by_the_cache(tmp_path):
    # Folders that changed just before the listing may change again within the clock's tick.
    root, cache = tmp_path / 'images', tmp_path / 'index.npz'
    touch(root, 'a/1.jpg')
    mtime = (root / 'a').stat().st_mtime_ns
    list_folder(str(root), ('.jpg',), cache)
    touch(root, 'a/2.jpg')
    os.utime(root / 'a', ns=(mtime, mtime))
    assert len(list_folder(str(root), ('.jpg',), cache).files) == 2


def test_what_was_unreadable_is_tried_again_despite_the_index(tmp_path, monkeypatch, unreadable):
    root, cache = tmp_path / 'images', tmp_path / 'index.npz'
    touch(root, 'a/1.jpg', 'b/2.jpg')
    settle(root)
    unreadable(root / 'b')
    assert list(list_folder(str(root), ('.jpg',), cache).files) == ['a/1.jpg']
    monkeypatch.undo()  # a change of permissions leaves the modification time as it is
    assert list(list_folder(str(root), ('.jpg',), cache).files) == ['a/1.jpg', 'b/2.jpg']


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 not really', b'\x80\x04N.'])
def test_damaged_index_is_made_again(tmp_path, content):
    root, cache = tmp_path / 'images', tmp_path / 'index.npz'
    touch(root, 'a/1.jpg')
    cache.write_bytes(content)
    assert len(list_folder(str(root), ('.jpg',), cache).files) == 1
    assert len(FolderListing.load(cache, ('.jpg',)).files) == 1


def test_index_of_a_stranger_runs_no_code(tmp_path):
    class Boom:
        def __reduce__(self):
            return open, (str(tmp_path / 'EXECUTED'), 'w')

    np.savez(tmp_path / 'index.npz', names=np.array([Boom()], dtype=object))
    assert FolderListing.load(tmp_path / 'index.npz', ('.jpg',)) is None
    assert not (tmp_path / 'EXECUTED').exists()


def test_unwritable_cache_is_done_without(tmp_path):
    root = tmp_path / 'images'
    touch(root, 'a/1.jpg')
    (tmp_path / 'file').write_bytes(b'')
    assert len(list_folder(str(root), ('.jpg',), tmp_path / 'file' / 'index.npz').files) == 1


@pytest.mark.slow
def test_a_million_paths_are_small_and_shared():
    script = """
import os, resource, sys
from mae_plugin.datasets.path_list import PathList
def rss():
    fields = dict(line.split(':') for line in open('/proc/self/smaps_rollup').readlines()[1:])
    return {key: int(fields[key].split()[0]) / 1024 for key in ('Rss', 'Private_Dirty')}
before = rss()['Rss']
paths = PathList.of(f'n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG' for i in range(1_000_000))
print(rss()['Rss'] - before)
child = os.fork()
if child == 0:
    dirty = rss()['Private_Dirty']
    total = sum(len(paths[i]) for i in range(0, 1_000_000, 50))
    print(rss()['Private_Dirty'] - dirty, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(paths[999_999])
"""
    found = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True
    ).stdout.split()
    growth, copied = sorted(map(float, found[:2]), reverse=True)
    assert growth < 300 and copied < 10
    assert found[2] == 'n00000999/n00000999_999999.JPEG'


def test_path_list_indices():
    paths = PathList.of(['a', '', 'ü/b'])
    assert list(paths) == ['a', '', 'ü/b'] and len(paths) == 3
    for index in (-1, 3):
        with pytest.raises(IndexError):
            paths[index]
