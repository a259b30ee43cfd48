"""Models of Hugging Face and timm as their folders: loaded as the library itself loads them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mae_plugin.checkpoint import load_pretrained, read_checkpoint
from mae_plugin.checkpoint.folders import MODEL_CONFIG
from mae_plugin.errors import UserError
from mae_plugin.models import ViT

from . import peers
from .models import vit


@pytest.mark.parametrize('split', [False, True])
@torch.no_grad()
def test_a_folder_of_hugging_face(split, tmp_path):
    model = peers.hf_mae_model()
    model.save_pretrained(tmp_path, max_shard_size='20KB' if split else '5GB')
    assert (len(list(tmp_path.glob('*.safetensors'))) > 1) == split
    ours = vit()
    assert not load_pretrained(ours, str(tmp_path)).initial
    order = torch.arange(peers.GRID**2).float().expand(2, -1)
    tokens = model.vit(peers.images(), noise=order).last_hidden_state
    torch.testing.assert_close(ours(peers.images()), tokens, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin'])
@torch.no_grad()
def test_a_folder_of_timm(name, tmp_path):
    model = peers.timm_vit()
    if name.endswith('.bin'):
        torch.save(model.state_dict(), tmp_path / name)
    else:
        save_file(model.state_dict(), tmp_path / name)
    (tmp_path / MODEL_CONFIG).write_text(json.dumps(dict(architecture='vit_tiny_patch16_224')))
    for given in (tmp_path, tmp_path / name):
        assert read_checkpoint(str(given))[MODEL_CONFIG]['architecture'] == 'vit_tiny_patch16_224'
        ours = vit()
        load_pretrained(ours, str(given))
        torch.testing.assert_close(
            ours(peers.images()), model.forward_features(peers.images()), rtol=1e-4, atol=1e-4
        )


def test_a_config_beside_another_file_is_not_its_own(tmp_path):
    torch.save(peers.timm().content, tmp_path / 'epoch_1.pth')
    (tmp_path / MODEL_CONFIG).write_text('{"model_type": "bert"}')
    assert MODEL_CONFIG not in read_checkpoint(str(tmp_path / 'epoch_1.pth'))


@pytest.mark.parametrize('name', ['model.safetensors.index.json', MODEL_CONFIG])
def test_a_damaged_description(name, tmp_path):
    peers.hf_mae_model().save_pretrained(tmp_path, max_shard_size='20KB')
    (tmp_path / name).write_text('{"weight_map": ')
    with pytest.raises(ValueError, match=f'{name} is damaged'):
        read_checkpoint(str(tmp_path))


def test_a_missing_part_is_named(tmp_path):
    peers.hf_mae_model().save_pretrained(tmp_path, max_shard_size='20KB')
    part = sorted(tmp_path.glob('*.safetensors'))[1]
    part.unlink()
    with pytest.raises(FileNotFoundError, match=part.name):
        read_checkpoint(str(tmp_path))


@torch.no_grad()
def test_folders_of_dinov3(tmp_path):
    """Their config names the gate's activation, and the base of the rotary positions."""
    pytest.importorskip('transformers', '4.56', reason=peers.NEWER)
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    from .families import dinov3_arch

    kwargs = peers.hf_config(num_register_tokens=4, use_gated_mlp=True, hidden_act='silu')
    kwargs['intermediate_size'] = 128
    model = peers.randomise(DINOv3ViTModel(DINOv3ViTConfig(**kwargs)))
    model.save_pretrained(tmp_path / 'own')
    ours = ViT(**dinov3_arch(gated=True)).eval()
    report = load_pretrained(ours, str(tmp_path / 'own'))
    assert not report.initial and not report.doubts
    tokens = model(peers.images()).last_hidden_state
    torch.testing.assert_close(ours(peers.images()), tokens, rtol=1e-4, atol=1e-4)

    DINOv3ViTModel(DINOv3ViTConfig(**kwargs, rope_theta=1000.0)).save_pretrained(tmp_path / 'o')
    with pytest.raises(UserError, match='rotary positions of base 1000 instead of 100'):
        load_pretrained(ours, str(tmp_path / 'o'))
