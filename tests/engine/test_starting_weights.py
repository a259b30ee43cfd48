"""A file given on the command line takes the place of the one that the config names."""

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


def test_without_it_the_configs_own_is_wanted(tmp_path):
    runner = build_runner(config(tmp_path))
    with pytest.raises(FileNotFoundError, match='absent'):
        runner._init_model_weights()
