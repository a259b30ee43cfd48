"""Addresses: fetched once, read safely, whatever their scheme; served from this machine."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import mmengine.fileio.io as fileio
import mmengine.runner.checkpoint as lists
import pytest
import torch
from mmengine.runner import CheckpointLoader
from torch import nn

from mae_plugin.checkpoint import load_pretrained, read_checkpoint
from mae_plugin.errors import UserError
from mae_plugin.models import ViT

ARCH = dict(embed_dims=16, num_layers=1, num_heads=2)


class Shell:
    """Pickles as a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_file_at_an_address_is_fetched_once(site):
    address, folder, asked = site
    source = ViT(ARCH, 32)
    torch.save(source.state_dict(), folder / 'vit.pth')
    for _ in range(2):
        model = ViT(ARCH, 32)
        assert not load_pretrained(model, f'{address}/vit.pth?download=true').initial
        assert torch.equal(model.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)
    assert asked == ['/vit.pth?download=true']


@pytest.mark.parametrize('host', [None, 'http://127.0.0.1:9'])
def test_file_that_cannot_be_fetched(site, host):
    """No such file, or no network: the words name the place for a file fetched elsewhere."""
    address = f'{host or site[0]}/vit.pth'
    with pytest.raises(
        UserError, match=r'cannot be fetched .*torch/hub/.*-vit\.pth.*--pretrained'
    ):
        load_pretrained(ViT(ARCH, 32), address)


@pytest.fixture
def model_lists(site, monkeypatch):
    """mmengine's lists of names, with entries on the site."""
    address = site[0]
    for scheme in ('torchvision', 'external', 'mmcls'):
        known = {'net': f'{address}/net.pth', 'here': 'net.pth'}
        monkeypatch.setattr(lists, f'get_{scheme}_models', lambda known=known: known)
    monkeypatch.setattr(lists, 'get_deprecated_model_names', lambda: {'old': 'net'})


NAMES = [
    'torchvision://net',
    'modelzoo://net',
    'open-mmlab://net',
    'openmmlab://old',
    'mmcls://net',
]


@pytest.mark.parametrize('name', NAMES)
def test_named_models_are_read_safely(name, site, model_lists, schemes, tmp_path):
    """mmengine's own readers of these names fall back to unpickling everything."""
    state = {'backbone.weight': torch.ones(2, 2), 'backbone.bias': torch.ones(2)}
    torch.save({'state_dict': state, 'x': Shell(tmp_path / 'ran')}, site[1] / 'net.pth')
    for read in (CheckpointLoader.load_checkpoint, read_checkpoint):
        with pytest.raises(ValueError, match=r'posix\.system'):
            read(name)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('name', NAMES)
def test_named_models_are_found(name, site, model_lists, schemes):
    state = {'backbone.weight': torch.ones(2, 2), 'backbone.bias': torch.ones(2)}
    torch.save({'state_dict': state}, site[1] / 'net.pth')
    inner = nn.Linear(2, 2)
    # The names of mmcls stand for the backbone alone.
    model = inner if name.startswith('mmcls') else nn.ModuleDict(dict(backbone=inner))
    lists.load_checkpoint(model, name, strict=True)
    assert all(torch.equal(value, torch.ones_like(value)) for value in inner.parameters())


def test_unknown_name(model_lists, schemes):
    with pytest.raises(ValueError, match=r"list for open-mmlab:// has no 'nothing'.*path"):
        CheckpointLoader.load_checkpoint('open-mmlab://nothing')


def test_entry_that_is_a_file(model_lists, monkeypatch, tmp_path):
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    torch.save({'w': torch.ones(1)}, tmp_path / 'net.pth')
    assert torch.equal(read_checkpoint('open-mmlab://here')['w'], torch.ones(1))


@pytest.mark.parametrize('address', ['s3://bucket/net.pth', 'cluster:petrel://bucket/net.pth'])
def test_object_stores_are_read_safely(address, schemes, monkeypatch, tmp_path):
    torch.save({'x': Shell(tmp_path / 'ran')}, tmp_path / 'net.pth')

    class Store:
        @contextlib.contextmanager
        def get_local_path(self, path):
            assert path == address
            yield str(tmp_path / 'net.pth')

    monkeypatch.setattr(fileio, 'get_file_backend', lambda *_, **__: Store())
    with pytest.raises(ValueError, match=r'posix\.system'):
        CheckpointLoader.load_checkpoint(address)
    assert not (tmp_path / 'ran').exists()


def test_pavi_is_refused(schemes):
    with pytest.raises(ValueError, match='download the file'):
        CheckpointLoader.load_checkpoint('pavi://model')


PROCESS = """
import sys, torch
from mae_plugin.checkpoint.addresses import local_copy
rank, store, address = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.distributed.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
with local_copy(f'{address}/net.pth') as path:
    assert path.read_bytes() == b'weights'
with local_copy(f'{address}/missing.pth'):
    pass
"""


@pytest.mark.slow
def test_two_processes_fetch_once(site, tmp_path):
    """And both end where there is nothing to fetch, instead of one waiting for the other."""
    address, folder, asked = site
    (folder / 'net.pth').write_bytes(b'weights')
    environment = {k: v for k, v in os.environ.items() if k not in ('LOCAL_RANK', 'RANK')}
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', PROCESS, str(rank), str(tmp_path / 'store'), address],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all('HTTP Error 404' in error for error in errors)
    assert asked.count('/net.pth') == 1
