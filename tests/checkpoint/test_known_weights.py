"""Weights by name and of Hugging Face's hub; the server stands on this machine."""

import hashlib
import json

import pytest
import torch
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file
from transformers import ViTConfig, ViTModel

from mae_plugin.checkpoint import load_pretrained, read_checkpoint
from mae_plugin.checkpoint.known_weights import KNOWN, Known
from mae_plugin.errors import UserError
from mae_plugin.evaluation.encoder import load_encoder
from mae_plugin.models import ViT

ARCH = dict(embed_dims=16, num_layers=1, num_heads=2)
PEER = dict(
    hidden_size=48, num_hidden_layers=2, num_attention_heads=6, intermediate_size=96,
    image_size=32, patch_size=8,
)  # fmt: skip


@pytest.fixture
def named(site, monkeypatch):
    """Two names: of a file on the site, and of one whose address is not known."""
    address, folder, asked = site
    source = ViT(ARCH, 32)
    torch.save(source.state_dict(), folder / 'net.pth')
    monkeypatch.setitem(KNOWN, 'net', Known(f'{address}/net.pth', 'ViT', 'none'))
    return source, folder, asked


@pytest.fixture
def hub(site, monkeypatch):
    """A model of transformers' own, as its hub keeps one."""
    address, folder, asked = site
    monkeypatch.setenv('HF_ENDPOINT', address)
    place = folder / 'someone/vit/resolve/main'
    torch.manual_seed(0)
    peer = ViTModel(ViTConfig(**PEER), add_pooling_layer=False).eval()
    peer.save_pretrained(place)
    return peer, place, asked


def test_a_name_is_fetched_once(named, schemes):
    source, _, asked = named
    model = ViT(ARCH, 32, init_cfg=dict(type='Pretrained', checkpoint='net'))
    model.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert CheckpointLoader.load_checkpoint('net').keys() == source.state_dict().keys()
    assert asked == ['/net.pth']


def test_a_file_of_that_name_comes_first(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'mine': torch.ones(1)}, 'net')
    assert list(read_checkpoint('net')) == ['mine'] and not named[2]


@pytest.mark.parametrize('right', [True, False])
def test_a_sum_is_compared(named, monkeypatch, right):
    digest = hashlib.sha256((named[1] / 'net.pth').read_bytes()).hexdigest()
    monkeypatch.setitem(KNOWN, 'net', KNOWN['net']._replace(sha256=digest if right else 'abc123'))
    if right:
        assert read_checkpoint('net')
    else:
        with pytest.raises(UserError, match='invalid hash value'):
            read_checkpoint('net')


def test_a_model_of_the_hub_brings_its_config(hub):
    peer, _, asked = hub
    vit, _ = load_encoder('hf://someone/vit')
    assert vit.blocks[0].attn.num_heads == 6  # no weight tells it
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(vit(images), peer(images).last_hidden_state)
    count = len(asked)
    load_encoder('hf://someone/vit')
    assert len(asked) == count  # nor is a network needed


def test_a_split_model_of_the_hub(hub):
    peer, place, _ = hub
    state = peer.state_dict()
    (place / 'model.safetensors').unlink()
    names = sorted(state)
    halves = {'a.safetensors': names[:9], 'b.safetensors': names[9:]}
    for file, keys in halves.items():
        save_file({key: state[key] for key in keys}, place / file)
    index = {key: file for file, keys in halves.items() for key in keys}
    (place / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': index}))
    content = read_checkpoint('hf://someone/vit')
    assert all(torch.equal(content[name], state[name]) for name in names)


@pytest.mark.parametrize(
    'name, words',
    [
        ('hf://someone/nothing', 'has neither model.safetensors'),
        ('hf://alone', 'give hf://owner/name'),
        ('pixio-large', 'address is not known here.*github.com/facebookresearch/pixio'),
    ],
)
def test_what_is_not_there(hub, name, words):
    with pytest.raises(UserError, match=words):
        load_pretrained(ViT(ARCH, 32), name)


def test_without_a_network_the_place_is_named(hub, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    with pytest.raises(UserError, match=r'put it at .*hf--someone--vit/config.json'):
        read_checkpoint('hf://someone/vit')


def test_the_table_is_whole():
    for name, known in KNOWN.items():
        assert known.licence and known.what and known.page.startswith('https://'), name
        assert known.address is None or known.address.startswith(('https://', 'hf://')), name
