"""A file given on the command line takes the place of the one that the config names."""

import copy
import importlib.util

import pytest
import torch
from mmengine.config import Config

from mae_plugin.engine.runner import build_runner
from mae_plugin.models import ViTBackbone

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2)


def config(tmp_path):
    """A segmentor whose encoder is to come from a file that is not there."""
    backbone = dict(
        type='mae_plugin.ViTBackbone',
        arch=ARCH,
        img_size=32,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'absent.pth')),
    )
    head = dict(type='FCNHead', in_channels=32, channels=32, num_convs=0, num_classes=2)
    head |= dict(in_index=0, concat_input=False)
    model = dict(type='EncoderDecoder', backbone=backbone, decode_head=head, test_cfg=dict())
    return Config(
        dict(model=model, work_dir=str(tmp_path), launcher='none', default_scope='mmseg')
    )


def test_pretrained_replaces_the_configs_own(tmp_path):
    encoder = ViTBackbone(ARCH, img_size=32)
    encoder.init_weights()
    torch.save(encoder.state_dict(), tmp_path / 'mine.pth')
    runner = build_runner(config(tmp_path), pretrained=str(tmp_path / 'mine.pth'))
    runner._init_model_weights()
    runner.load_or_resume()
    for name, value in encoder.state_dict().items():
        assert torch.equal(runner.model.backbone.state_dict()[name], value), name


def test_pretrained_keeps_how_the_config_loads(tmp_path):
    """BEiT's relative positions are left out by an option of the config's own loading."""
    encoder = ViTBackbone(ARCH, img_size=32)
    encoder.init_weights()
    beit = encoder.state_dict()
    for block in range(2):
        beit[f'blocks.{block}.attn.relative_position_bias_table'] = torch.ones(10, 2)
    torch.save(beit, tmp_path / 'beit.pth')
    file = str(tmp_path / 'beit.pth')
    cfg = config(tmp_path)
    runner = build_runner(copy.deepcopy(cfg), pretrained=file)
    runner._init_model_weights()
    with pytest.raises(ValueError, match='drop_relative_position_bias'):
        runner.load_or_resume()

    init = cfg.model.backbone.init_cfg
    init.drop_relative_position_bias = True
    for given in (init, [init]):
        cfg.model.backbone.init_cfg = given
        cfg.experiment_name = f'beit-{type(given).__name__}'
        runner = build_runner(copy.deepcopy(cfg), pretrained=file)
        runner._init_model_weights()
        runner.load_or_resume()
        weight = runner.model.backbone.blocks[1].mlp.fc1.weight
        assert torch.equal(weight, beit['blocks.1.mlp.fc1.weight'])


def test_without_it_the_configs_own_is_wanted(tmp_path):
    runner = build_runner(config(tmp_path))
    with pytest.raises(FileNotFoundError, match='absent'):
        runner._init_model_weights()


@pytest.mark.parametrize(
    'scope, extra', [('mmdet', 'det'), ('mmseg', 'seg'), ('mmpretrain', 'cls')]
)
def test_a_toolbox_that_is_not_installed_is_named(tmp_path, monkeypatch, scope, extra):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *args: None if name == scope else found(name, *args),
    )
    cfg = config(tmp_path)
    cfg.default_scope = scope
    with pytest.raises(ValueError, match=rf'needs {scope}, which is not installed.*\[{extra}\]'):
        build_runner(cfg)
