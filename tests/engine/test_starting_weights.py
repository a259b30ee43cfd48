"""A file given on the command line takes the place of the one that the config names."""

import copy
import importlib.util
import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from tiny_run import WIDTH, mae_config, tiny_config

from mae_plugin.engine.runner import build_runner
from mae_plugin.models import ViTBackbone
from mae_plugin.models.vit import ViT

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


@pytest.mark.slow
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


@pytest.fixture
def mae_run(tmp_path, photos):
    """The checkpoint of a MAE after one epoch, and its config."""
    cfg = Config(mae_config(tmp_path / 'mae', photos, 8, epochs=1, experiment_name='mae'))
    build_runner(copy.deepcopy(cfg)).train()
    return tmp_path / 'mae/epoch_1.pth', cfg


def segmentor(tmp_path, name, **arch):
    cfg = config(tmp_path)
    cfg.experiment_name = name
    cfg.model.backbone.update(patch_size=8, arch=dict(ARCH, **arch))
    return cfg


@pytest.mark.parametrize('given', ['pretrained', 'load_from of the config'])
def test_fine_tuning_from_a_mae_has_one_report(tmp_path, mae_run, capsys, given):
    file, _ = mae_run
    cfg = segmentor(tmp_path, given)
    cfg.model.backbone.update(rel_pos_img_size=32, layer_scale_init=1.0)
    if given != 'pretrained':
        cfg.load_from = str(file)
    runner = build_runner(cfg, pretrained=str(file) if given == 'pretrained' else None)
    runner._init_model_weights()
    head = runner.model.decode_head.conv_seg.weight.clone()
    capsys.readouterr()
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    MMLogger.get_current_instance().addHandler(handler)
    runner.load_or_resume()

    out, err = capsys.readouterr()
    assert 'do not match' not in out + err and 'missing keys' not in out + err
    (report,) = [record for record in records if 'left at init' in record.getMessage()]
    assert report.levelno == logging.INFO
    assert 'decoder.* (' in report.getMessage() and 'head.* (2)' in report.getMessage()
    state = torch.load(file, weights_only=True)['state_dict']
    weight = runner.model.backbone.blocks[1].mlp.fc1.weight
    assert torch.equal(weight, state['backbone.blocks.1.mlp.fc1.weight'])
    assert torch.equal(runner.model.decode_head.conv_seg.weight, head)


def test_an_encoder_that_the_file_leaves_changed_is_a_warning(tmp_path, mae_run):
    cfg = segmentor(tmp_path, 'scaled')
    cfg.model.backbone.layer_scale_init = 0.1
    runner = build_runner(cfg, pretrained=str(mae_run[0]))
    runner._init_model_weights()
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    MMLogger.get_current_instance().addHandler(handler)
    runner.load_or_resume()
    assert 'gamma_1' in records[0].getMessage()


def test_other_heads_are_refused_however_a_run_starts(tmp_path, mae_run):
    file, cfg = mae_run
    assert cfg.model.backbone.arch == dict(embed_dims=WIDTH, num_layers=2, num_heads=2)
    runner = build_runner(segmentor(tmp_path, 'pre', num_heads=4), pretrained=str(file))
    with pytest.raises(ValueError, match=r'num_heads=2 .*num_heads=4'):
        runner.load_or_resume()
    cfg.model.backbone.arch.num_heads = 4
    for how in ('resume', 'load_from'):
        cfg.experiment_name = how
        runner = build_runner(copy.deepcopy(cfg), **{how: str(file)})
        with pytest.raises(ValueError, match=r'num_heads=2 .*num_heads=4'):
            runner.train()


def test_the_same_model_starts_from_all_of_its_weights(mae_run):
    file, cfg = mae_run
    cfg.experiment_name = 'again'
    runner = build_runner(cfg, pretrained=str(file))
    runner._init_model_weights()
    runner.load_or_resume()
    state = torch.load(file, weights_only=True)['state_dict']
    assert isinstance(runner.model.backbone, ViT)
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_model_without_an_encoder_of_ours_starts_as_in_mmengine(tmp_path):
    first = Config(tiny_config(tmp_path / 'first', 1, experiment_name='first'))
    build_runner(first).train()
    file = next((tmp_path / 'first').glob('*.pth'))
    second = Config(tiny_config(tmp_path / 'second', 1, experiment_name='second'))
    runner = build_runner(second, pretrained=str(file))
    runner.load_or_resume()
    saved = torch.load(file, weights_only=True)['state_dict']
    assert all(
        torch.equal(saved[name], value) for name, value in runner.model.state_dict().items()
    )
