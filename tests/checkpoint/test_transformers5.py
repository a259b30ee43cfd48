"""Models of transformers 5, which the suite's transformers 4 lacks or names otherwise."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mae_plugin.checkpoint import export_checkpoint, load_pretrained
from mae_plugin.models import ViT, ViTBackbone

from .models import save

STORED = load_file(Path(__file__).parents[1] / 'data' / 'transformers5.safetensors')
ARCH = dict(embed_dims=16, num_layers=2, num_heads=2)
LEARNED = dict(type='LearnedPositions')
# Hidden width of the gated MLP: two thirds of 4 * 16, rounded up to a multiple of 8.
KWARGS = {
    'pixio': dict(arch=dict(ARCH, num_cls_tokens=3, positions=LEARNED)),
    'dinov2-giant': dict(
        arch=dict(ARCH, mlp='swiglu', mlp_ratio=48 / 16, layer_scale_init=1, positions=LEARNED)
    ),
    'dinov3-plus': dict(
        arch=dict(
            ARCH,
            mlp='swiglu',
            mlp_ratio=24 / 16,
            layer_scale_init=1,
            num_register_tokens=2,
            positions=dict(type='RotaryPositions'),
            key_bias=False,
            norm_eps=1e-5,
        )
    ),
}


def images(height, width):
    """As make_transformers5.py has them."""
    return torch.arange(3 * height * width).mul(0.37).sin().reshape(1, 3, height, width)


@pytest.mark.parametrize('names', ['memory', 'file'])
@pytest.mark.parametrize('name', KWARGS)
@torch.no_grad()
def test_features_are_those_of_transformers_5(name, names, tmp_path):
    prefix = f'{name}/{names}/'
    state = {k.removeprefix(prefix): v for k, v in STORED.items() if k.startswith(prefix)}
    file = save(state, tmp_path / 'model.pth')
    shape = dict(img_size=16, patch_size=4)
    vit = ViT(**KWARGS[name], **shape).eval()
    backbone = ViTBackbone(**KWARGS[name], **shape, final_norm=True).eval()
    for model in (vit, backbone):
        report = load_pretrained(model, file)
        assert not report.initial
        assert all(key.endswith('mask_token') for key in report.ignored)
    sizes = [key.rpartition('/')[2] for key in STORED if key.startswith(f'{name}/tokens/')]
    assert len(sizes) == 3
    for size in sizes:
        x = images(*map(int, size.split('x')))
        tokens = STORED[f'{name}/tokens/{size}']
        torch.testing.assert_close(vit(x), tokens, rtol=1e-4, atol=1e-5)
        patches = tokens[:, vit.num_prefix_tokens :].mT.reshape(backbone(x)[0].shape)
        torch.testing.assert_close(backbone(x)[0], patches, rtol=1e-4, atol=1e-5)


def test_pixio_goes_back_to_both_layouts():
    """transformers 5 reads ViT's names of norms too: tried there, no key is left over."""
    file = {k.removeprefix('pixio/file/'): v for k, v in STORED.items() if 'pixio/file/' in k}
    names = {'layernorm_before': 'norm1', 'layernorm_after': 'norm2'}
    exported = {}
    for key, tensor in export_checkpoint(file, 'huggingface').items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        exported[key] = tensor
    assert exported.keys() == file.keys()
    assert all(torch.equal(exported[key], tensor) for key, tensor in file.items())
    official = export_checkpoint(file, 'official')
    assert official['cls_token'].shape == (1, 3, 16) and official['pos_embed'].shape[1] == 3 + 16
    there, back = (export_checkpoint(state, 'huggingface') for state in (file, official))
    assert there.keys() == back.keys()
    assert all(torch.equal(there[key], back[key]) for key in there)
