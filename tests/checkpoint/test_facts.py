"""What no tensor shows, heads above all: known from the file or its family, or told unknown."""

import argparse
import json
import logging

import pytest
import timm
import torch
from mmengine.config import Config
from safetensors.torch import save_file

from mae_plugin.checkpoint import load_pretrained
from mae_plugin.checkpoint.claims import claims_of_name
from mae_plugin.checkpoint.describe import describe
from mae_plugin.checkpoint.families import DIALECTS
from mae_plugin.checkpoint.load import load_init_cfg
from mae_plugin.checkpoint.sizes import sizes
from mae_plugin.evaluation.encoder import load_encoder
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
        dict(type='mmpretrain.VisionTransformer', arch='b'),
        dict(type='VisionTransformer', embed_dims=2 * DIMS, num_heads=HEADS),
        dict(type='ViT', arch=ARCH | dict(embed_dims=2 * DIMS)),
        dict(type='ViT', arch=ARCH | dict(num_layers=DEPTH + 1)),
        dict(type='ViT', arch='mine'),
        dict(type='SomebodysViT', arch='base'),
    ],
    ids=['name of a host', 'width of a host', 'other width', 'other depth', 'unknown', 'a type'],
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
    assert 'heads      not known' in unknown
    run['meta']['cfg'] = Config(dict(model=dict(backbone=dict(type='ViT', arch=ARCH)))).pretty_text
    told = describe(run, 'f')
    assert f'heads      {HEADS} (the config stored in it)' in told and 'refused' not in told


def equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def mmpretrain_file(path, kind, arch, **kwargs):
    """A run of mmpretrain, with or without the config in it, and the backbone."""
    from mmpretrain.models import backbones, selfsup

    make = getattr(backbones, kind, None) or getattr(selfsup, kind)
    backbone = make(arch=arch, img_size=SIZE, patch_size=16, out_type='raw')
    backbone.eval()
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    config = dict(model=dict(type='X', backbone=dict(type=f'mmpretrain.{kind}', arch=arch)))
    meta = dict(cfg=Config(config).pretty_text)
    return save(dict(state_dict=state, meta=meta) | kwargs, path), backbone


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'arch', 'heads'),
    [
        ('MoCoV3ViT', 'mocov3-small', 12),
        ('VisionTransformer', 'small', 8),
        ('VisionTransformer', 'deit-tiny', 3),
    ],
)
@torch.no_grad()
def test_names_of_mmpretrain_mean_what_they_mean_there(kind, arch, heads, tmp_path):
    file, theirs = mmpretrain_file(tmp_path / 'f.pth', kind, arch)
    encoder, _ = load_encoder(file)
    assert encoder.blocks[0].attn.num_heads == heads
    equal(encoder(peers.images()), theirs(peers.images())[0])
    if kind == 'MoCoV3ViT':
        with pytest.raises(ValueError, match=r'num_heads=12 \(says the config.*num_heads=6'):
            load_pretrained(ViT('small', SIZE), file)


@pytest.mark.slow
@torch.no_grad()
def test_mmpretrains_384_wide_vit_without_a_config_may_have_6_heads_or_12(tmp_path, logged):
    file, theirs = mmpretrain_file(tmp_path / 'f.pth', 'MoCoV3ViT', 'mocov3-small', meta={})
    with pytest.raises(ValueError, match=r'width 384, 12 blocks, mmpretrain.*--num-heads'):
        load_encoder(file)
    report = load_pretrained(ViT('small', SIZE), file)
    assert 'nothing tells how many attention heads' in report.doubts[0]
    assert [record.levelno for record in logged][-1] == logging.WARNING
    equal(load_encoder(file, num_heads=12)[0](peers.images()), theirs(peers.images())[0])
    arch = dict(embed_dims=384, num_layers=12, num_heads=12)
    ours = ViT(arch, SIZE).eval()
    report = load_init_cfg(ours, dict(type='Pretrained', checkpoint=file, num_heads=12))
    assert not report.doubts
    equal(ours(peers.images()), theirs(peers.images())[0])
    with pytest.raises(ValueError, match=r'num_heads=12 \(says the argument num_heads\)'):
        load_pretrained(ViT('small', SIZE), file, num_heads=12)


def small_timm(heads, **kwargs):
    model = timm.create_model(
        'vit_small_patch16_224', img_size=SIZE, num_heads=heads, num_classes=0, **kwargs
    )
    return model.eval()


def moco_v3(model):
    state = {f'module.base_encoder.{key}': value for key, value in model.state_dict().items()}
    return dict(state_dict=state, arch='vit_small', epoch=300)


def moco_v3_without_its_name(model):
    content = moco_v3(model)
    del content['arch']
    return content


def moco_v3_linear_probe(model):
    state = {f'module.{key}': value for key, value in model.state_dict().items()}
    return dict(state_dict=state, arch='vit_small', best_acc1=73.2)


@pytest.mark.slow
@pytest.mark.parametrize('layout', [moco_v3, moco_v3_without_its_name, moco_v3_linear_probe])
@torch.no_grad()
def test_moco_v3_small_has_12_heads(layout, tmp_path):
    theirs = small_timm(12)
    file = save(layout(theirs), tmp_path / 'f.pth')
    equal(load_encoder(file)[0](peers.images()), theirs.forward_features(peers.images()))
    with pytest.raises(ValueError, match=r'num_heads=12 .*num_heads=6.*in `arch`'):
        load_pretrained(ViT('small', SIZE), file)


def dino(model):
    state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    return dict(teacher=state, args=argparse.Namespace(arch='vit_small'))


def timms_own_script(model):
    return dict(state_dict=model.state_dict(), arch='vit_small_patch16_224', args={})


def deit(model):
    return dict(model=model.state_dict(), args=argparse.Namespace(model='deit_small_patch16_224'))


def mae_lite(model):
    return dict(model=model.state_dict(), args=dict(model='mae_vit_small_patch16'))


@pytest.mark.slow
@pytest.mark.parametrize('layout', [dino, timms_own_script, deit, mae_lite])
def test_small_of_the_others_has_6_heads(layout, tmp_path):
    file = save(layout(small_timm(6)), tmp_path / 'f.pth')
    assert load_encoder(file)[0].blocks[0].attn.num_heads == 6
    twelve = dict(embed_dims=384, num_layers=12, num_heads=12)
    with pytest.raises(ValueError, match=r"num_heads=6 \(says its (args\.)?(arch|model)='.*=12"):
        load_pretrained(ViT(twelve, SIZE), file)


def test_a_convention_is_told_as_such_and_gives_way_to_what_the_user_says(tmp_path, logged):
    file = save(small_timm(6).state_dict(), tmp_path / 'f.pth')
    report = load_pretrained(ViT('small', SIZE), file)
    assert report.told == ['num_heads 6 (assumed: as the known ViTs of this size have)']
    assert not report.doubts
    assert report.told[0] in logged[-1].getMessage()
    twelve = dict(embed_dims=384, num_layers=12, num_heads=12)
    report = load_pretrained(ViT(twelve, SIZE), file)
    assert 'probably has num_heads=6' in report.doubts[0]
    assert not load_pretrained(ViT(twelve, SIZE), file, num_heads=12).doubts
    assert load_encoder(file, num_heads=12)[0].blocks[0].attn.num_heads == 12


def test_a_file_that_contradicts_itself(tmp_path):
    run = our_run(mae())
    run['meta']['cfg'] = Config(dict(model=dict(backbone=dict(type='ViT', arch=ARCH)))).pretty_text
    file = save(run, tmp_path / 'f.pth')
    with pytest.raises(ValueError, match=r'num_heads of its encoder is 2, says the arg.* 4, s'):
        load_encoder(file, num_heads=2)


def test_widths_of_relative_positions_tell_the_heads(tmp_path):
    file = save(peers.sam().content, tmp_path / 'f.pth')
    dense = dict(with_cls_token=False, rel_pos_img_size=SIZE, window_size=2)
    wrong = ViTBackbone(OTHER, SIZE, patch_size=PATCH, global_attn_indexes=(1,), **dense)
    with pytest.raises(ValueError, match=r'num_heads=4 \(says the width of its relative pos'):
        load_pretrained(wrong, file)


@pytest.mark.parametrize(
    'windows', [dict(window_size=2, global_attn_indexes=(0,)), {}], ids=['others', 'none']
)
def test_lengths_of_relative_positions_tell_the_windows(windows, tmp_path):
    file = save(peers.sam().content, tmp_path / 'f.pth')
    dense = dict(img_size=SIZE, patch_size=PATCH, with_cls_token=False, rel_pos_img_size=SIZE)
    with pytest.raises(ValueError, match=r'blocks \[0\] attend in w.*the model.s (\[1|none)'):
        load_pretrained(ViTBackbone(ARCH, **dense, **windows), file)


def hf_folder(folder, **kwargs):
    from transformers import ViTConfig, ViTModel

    model = peers.randomise(ViTModel(ViTConfig(**peers.hf_config(**kwargs))))
    model.save_pretrained(folder)
    return str(folder), model


@torch.no_grad()
def test_a_folder_of_hugging_face_tells_heads_and_eps(tmp_path):
    """With an eps that is seen: 0.1."""
    folder, theirs = hf_folder(tmp_path, layer_norm_eps=0.1)
    (tmp_path / 'preprocessor_config.json').write_text(
        json.dumps(dict(image_mean=[0.5, 0.5, 0.5], image_std=[0.2, 0.2, 0.2]))
    )
    encoder, preprocessor = load_encoder(folder)
    torch.testing.assert_close(
        encoder(peers.images()), theirs(peers.images()).last_hidden_state, rtol=1e-5, atol=1e-5
    )
    assert preprocessor.mean.flatten().tolist() == [127.5] * 3
    assert preprocessor.std.flatten().tolist() == [51] * 3
    report = load_pretrained(vit(), folder)
    assert report.told[1] == (
        "its LayerNorms' eps is 0.1 (the config.json beside it), the model's 1e-06"
    )
    with pytest.raises(ValueError, match=rf'num_heads={HEADS} \(says the config\.json beside it'):
        load_pretrained(vit(arch=OTHER), folder)


def test_another_activation_is_refused(tmp_path):
    folder, _ = hf_folder(tmp_path, hidden_act='relu')
    with pytest.raises(ValueError, match=r'MLPs compute relu \(says the config\.json'):
        load_pretrained(vit(), folder)


def test_an_activation_of_mmpretrain_is_refused(tmp_path):
    run = our_run(mae())
    layers = dict(act_cfg=dict(type='mmpretrain.QuickGELU'))
    backbone = dict(type='mmpretrain.VisionTransformer', arch=ARCH, layer_cfgs=layers)
    run['meta']['cfg'] = Config(dict(model=dict(backbone=backbone))).pretty_text
    with pytest.raises(ValueError, match='MLPs compute quick_gelu'):
        load_pretrained(vit(), save(run, tmp_path / 'f.pth'))


@pytest.mark.parametrize(
    ('name', 'what'),
    [
        ('vit_tiny_patch16_rpn_224', 'LayerNorms behind each branch'),
        ('vit_tiny_patch16_rope_ape_224', 'rotary positions'),
    ],
)
def test_names_tell_blocks_that_tensors_do_not(name, what, tmp_path):
    save_file(ViT('tiny', SIZE).state_dict(), tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(json.dumps(dict(architecture=name)))
    with pytest.raises(ValueError, match=f'{what}.*, says the config.json beside it'):
        load_encoder(tmp_path)


def test_windows_of_a_run_are_told(tmp_path):
    run = our_run(mae())
    backbone = dict(type='ViTBackbone', arch=ARCH, window_size=2, global_attn_indexes=[-1])
    run['meta']['cfg'] = Config(dict(model=dict(backbone=backbone))).pretty_text
    file = save(run, tmp_path / 'f.pth')
    report = load_pretrained(vit(), file)
    assert 'attend in windows of 2 - patches (the config stored in it)' in report.doubts[0]
    dense = dict(img_size=SIZE, patch_size=PATCH, with_cls_token=False)
    same = ViTBackbone(ARCH, window_size=2, global_attn_indexes=(1,), **dense)
    assert not load_pretrained(same, file).doubts


def test_the_tables_are_the_hosts_own():
    """Names, sizes and eps of each backbone, from the toolboxes' own classes."""
    import inspect

    from mmpretrain.models import backbones, selfsup
    from mmseg.models import backbones as segmentation

    for kind, dialect in DIALECTS['mmpretrain'].items():
        cls = getattr(backbones, kind, None) or getattr(selfsup, kind)
        arguments = inspect.signature(cls).parameters
        if 'arch' in arguments:
            default = arguments['arch'].default
            assert dialect.archs[default] == dialect.archs[dialect.default]
        if 'norm_cfg' in arguments:
            assert arguments['norm_cfg'].default == dict(type='LN', eps=dialect.norm_eps)
        for name, arch in cls.arch_zoo.items():
            ours = dialect.archs[name]
            theirs = (arch['embed_dims'], arch['num_layers'], arch['num_heads'])
            assert ours[:3] == theirs, name
            assert ours.mlp_ratio * ours.embed_dims == arch['feedforward_channels']
    for kind, dialect in DIALECTS['mmseg'].items():
        arguments = inspect.signature(getattr(segmentation, kind)).parameters
        assert 'arch' not in arguments and dialect.default is None
        default = tuple(arguments[k].default for k in ('embed_dims', 'num_layers', 'num_heads'))
        assert dialect.archs['default'][:3] == default
        assert dialect.norm_eps == 1e-5 and 'eps' not in arguments['norm_cfg'].default


@pytest.mark.parametrize(
    'name',
    [
        'vit_base_patch16_gap_224',
        'vit_medium_patch16_gap_256',
        'vit_betwixt_patch16_gap_256',
        'vit_base_patch16_plus_240',
        'vit_giant_patch14_224',
        'vit_so400m_patch16_siglip_256',
        'vit_giantopt_patch16_siglip_256',
        'deit3_medium_patch16_224',
        'beit_large_patch16_224',
        'flexivit_small',
        'eva_giant_patch14_224',
    ],
)
def test_heads_of_timms_names(name):
    with torch.device('meta'):
        model = timm.create_model(name)
    claims = claims_of_name(name, sizes(model.state_dict()))
    assert claims['num_heads'] == model.blocks[0].attn.num_heads
    tanh = type(model.blocks[0].mlp.act) is timm.layers.activations.GELUTanh
    assert (claims.get('activation') == 'gelu_tanh') == tanh


def test_a_name_of_another_size_tells_nothing():
    """timm's first vit_small was 768 wide, with 8 heads."""
    state = ViT(dict(embed_dims=768, num_layers=8, num_heads=8), 32).state_dict()
    assert claims_of_name('vit_small_patch16_224', sizes(state)) == {}
