"""Names and shapes without models are those of the models."""

import subprocess
import sys

import pytest
import torch

from mae_plugin.checkpoint.blank_models import blank_models, is_decoder
from mae_plugin.checkpoint.sizes import sizes
from mae_plugin.checkpoint.spec import model_spec
from mae_plugin.models import (
    MAE,
    CrossAttentionDecoder,
    MAEDecoder,
    PixelTarget,
    RandomMasking,
    ReconstructionHead,
    ViT,
    ViTBackbone,
)

ARCH = dict(embed_dims=48, num_layers=2, num_heads=4, mlp_ratio=3)


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def same(blank, model):
    spec = model_spec(model)
    assert shapes(blank.tensors) == shapes(spec.tensors)
    assert blank.decoder_grid == spec.decoder_grid and blank.trunks.keys() == spec.trunks.keys()
    for name, trunk in spec.trunks.items():
        ours = blank.trunks[name]
        assert shapes(ours.tensors) == shapes(trunk.tensors)
        assert ours._replace(tensors={}) == trunk._replace(tensors={})


@pytest.mark.parametrize('cls_token', [True, False])
@pytest.mark.parametrize('channels', [1, 3])
def test_encoders(cls_token, channels):
    kwargs = dict(
        arch=ARCH, img_size=(32, 48), patch_size=8, in_channels=channels, with_cls_token=cls_token
    )
    vit = ViT(**kwargs)
    models = blank_models(sizes(vit.state_dict()), (4, 6), 4, None)
    assert set(models) == {'ViT', 'ViTBackbone'}
    same(models['ViT'], vit)
    same(models['ViTBackbone'], ViTBackbone(**kwargs))


@pytest.mark.parametrize('kind', ['none', 'mae', 'cross', 'mixing'])
def test_mae(kind):
    image = dict(img_size=(32, 48), patch_size=8)
    vit = ViT(ARCH, **image)
    with torch.device('meta'):
        decoder = {
            'none': lambda: MAEDecoder(48, **image),
            'mae': lambda: MAEDecoder(48, 32, 3, 4, **image),
            'cross': lambda: CrossAttentionDecoder(48, 32, 3, 4, **image),
            'mixing': lambda: CrossAttentionDecoder(48, 32, 3, 4, **image, in_layers=2),
        }[kind]()
    state = decoder.state_dict()
    assert is_decoder(set(state))
    assert not is_decoder({*state, 'more'}) and not is_decoder({*state} - {'embed.bias'})
    given = {} if kind == 'none' else state
    models = blank_models(sizes(vit.state_dict()), (4, 6), 4, given)
    head = ReconstructionHead(decoder.embed_dims, PixelTarget(8))
    same(models['MAE'], MAE(vit, decoder, head, RandomMasking()))


@pytest.mark.slow
def test_inspecting_imports_no_models():
    """mmengine.model alone takes longer to import than torch."""
    code = (
        'import sys; from mae_plugin.cli import inspect_checkpoint;'
        "print(sorted({'mmengine.model', 'mmcv', 'mae_plugin.models'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ('[]', '')
