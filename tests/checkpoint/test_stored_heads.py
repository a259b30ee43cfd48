"""The number of attention heads, which no tensor tells and the config of a run does."""

import pytest
import torch
from mmengine.config import Config

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.evaluation.describe import describe
from mae_plugin.models import ViT, ViTBackbone

from . import peers
from .models import mae, our_run, save, vit
from .peers import ARCH, DEPTH, DIMS, HEADS, PATCH, SIZE

OTHER = ARCH | dict(num_heads=HEADS // 2)


def run_file(path, model, backbone, **wrapper):
    """A run whose config has this backbone, as mmengine writes both."""
    run = our_run(model)
    run['meta']['cfg'] = Config(dict(model=dict(backbone=backbone, **wrapper))).pretty_text
    return save(run, path)


@pytest.mark.parametrize('kind', ['ViT', 'mae_plugin.ViTBackbone'])
def test_other_heads_than_the_runs_are_refused(kind, tmp_path):
    source = peers.randomise(mae())
    file = run_file(tmp_path / 'f.pth', source, dict(type=kind, arch=ARCH))
    sizes = dict(img_size=SIZE, patch_size=PATCH)
    init = dict(type='Pretrained', checkpoint=file)
    wrong = ViTBackbone(OTHER, **sizes, init_cfg=init)
    with pytest.raises(ValueError, match=rf'num_heads={HEADS} \(.*num_heads={HEADS // 2}, .*arch'):
        wrong.init_weights()
    right = ViTBackbone(ARCH, **sizes, init_cfg=init)
    right.init_weights()
    assert torch.equal(right.blocks[0].attn.qkv.weight, source.backbone.blocks[0].attn.qkv.weight)


def test_heads_of_a_named_arch_are_known(tmp_path):
    class Run(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = ViT('tiny', SIZE, PATCH)

    file = run_file(
        tmp_path / 'f.pth', Run(), dict(type='ViT', arch='tiny'), type='ImageClassifier'
    )
    with pytest.raises(ValueError, match=r'num_heads=3 .*num_heads=6'):
        load_pretrained(ViT(dict(embed_dims=192, num_layers=12, num_heads=6), SIZE, PATCH), file)
    assert not load_pretrained(ViT('tiny', SIZE, PATCH), file).initial


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='VisionTransformer', arch=ARCH),
        dict(type='mmpretrain.VisionTransformer', arch='b'),
        dict(type='ViT', arch=ARCH | dict(embed_dims=2 * DIMS)),
        dict(type='ViT', arch=ARCH | dict(num_layers=DEPTH + 1)),
        dict(type='ViT', arch='mine'),
        dict(arch=ARCH),
    ],
    ids=['host', 'name of a host', 'other width', 'other depth', 'unknown', 'no type'],
)
def test_a_config_of_something_else_tells_nothing(backbone, tmp_path):
    file = run_file(tmp_path / 'f.pth', mae(), backbone)
    assert not load_pretrained(vit(arch=OTHER), file).initial


@pytest.mark.parametrize(
    'meta', [None, {}, dict(cfg='model = open("x")'), dict(cfg=3), dict(cfg='a = = 1')]
)
def test_a_config_that_cannot_be_read_tells_nothing(meta, tmp_path):
    file = save(our_run(mae()) | dict(meta=meta), tmp_path / 'f.pth')
    assert not load_pretrained(vit(arch=OTHER), file).initial


def test_inspecting_uses_the_stored_heads(tmp_path):
    run = our_run(mae())
    unknown = describe(run, 'f')
    assert 'num_heads=1, assumed: no key tells' in unknown
    run['meta']['cfg'] = Config(dict(model=dict(backbone=dict(type='ViT', arch=ARCH)))).pretty_text
    told = describe(run, 'f')
    assert f'num_heads={HEADS}, as its stored config says' in told and 'refused' not in told
