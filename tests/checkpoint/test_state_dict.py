"""``load_from=`` and ``load_state_dict`` in anyone's run: never silent about what does not fit."""

import copy
import logging

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mae_plugin.errors import UserError
from mae_plugin.models import ViT, ViTBackbone

from . import peers
from .models import mae, save, unchanged, vit, weights
from .peers import ARCH, DIMS, GRID, PATCH, SIZE


class Host(BaseModel):
    """A model of another toolbox with our backbone."""

    def __init__(self, **kwargs):
        super().__init__()
        shared = dict(arch=ARCH, img_size=SIZE, patch_size=PATCH, final_norm=True)
        self.backbone = ViTBackbone(**(shared | kwargs))
        self.decode_head = nn.Linear(DIMS, 3)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.backbone(inputs)


def runner(model, checkpoint, tmp_path, **kwargs) -> Runner:
    return Runner(
        model=model,
        work_dir=str(tmp_path / 'run'),
        load_from=checkpoint,
        experiment_name=tmp_path.name,
        default_scope='mae_plugin',
        **kwargs,
    )


@pytest.fixture(autouse=True)
def no_scope_left():
    """A runner makes its scope the process's."""
    scopes = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(scopes)


@pytest.mark.parametrize(
    'name', ['official_full', 'timm', 'mmpretrain_vit', 'hf_vit', 'moco_v3', 'dino']
)
@torch.no_grad()
def test_load_from_any_file_with_the_hook(name, tmp_path):
    peer = peers.PEERS[name]()
    hooks = [dict(type='mae_plugin.StartingWeightsHook')]
    checkpoint = save(peer.content, tmp_path / 'f.pth')
    run = runner(Host(), checkpoint, tmp_path, custom_hooks=hooks)
    run.load_or_resume()
    features = run.model.eval()(peers.images())[-1]
    expected = peer.tokens(peers.images())[:, 1:].mT.unflatten(2, (GRID, GRID))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_load_from_into_a_whole_mae_with_the_hook(tmp_path):
    peer, model = peers.official_full(), mae()
    hooks = [dict(type='mae_plugin.StartingWeightsHook')]
    run = runner(model, save(peer.content, tmp_path / 'f.pth'), tmp_path, custom_hooks=hooks)
    run.load_or_resume()
    state = peer.content['model']
    assert torch.equal(model.backbone.cls_token, state['cls_token'])
    assert torch.equal(model.head.pred.weight, state['decoder_pred.weight'])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            {'state_dict': {'backbone.conv1.weight': torch.ones(3)}},
            "cannot load the state dict's part 'backbone.' into ViTBackbone: no ViT encoder",
        ),
        ({'model': {}}, "begins with 'backbone.'"),
        ({'model': {'cls_token': torch.ones(1, 1, DIMS)}}, "begins with 'backbone.'"),
        (
            {
                f'backbone.{name}': tensor
                for name, tensor in ViT(ARCH | dict(embed_dims=64), SIZE, PATCH)
                .state_dict()
                .items()
            },
            'sizes differ',
        ),
    ],
)
def test_load_from_without_it_stops_on_what_does_not_fit(content, message, tmp_path):
    model = Host()
    before = weights(model)
    run = runner(model, save(content, tmp_path / 'f.pth'), tmp_path)
    with pytest.raises(ValueError, match=message):
        run.load_or_resume()
    assert unchanged(model, before)


@pytest.mark.parametrize('name', ['official_full', 'timm', 'hf_vit', 'moco_v3', 'dino'])
def test_load_from_without_it_names_the_ways(name, tmp_path):
    run = runner(Host(), save(peers.PEERS[name]().content, tmp_path / 'f.pth'), tmp_path)
    with pytest.raises(UserError, match=r'init_cfg=.*--pretrained.*StartingWeightsHook'):
        run.load_or_resume()


@torch.no_grad()
def test_load_from_of_another_layout_under_the_models_names(tmp_path):
    """mmpretrain's classifiers have ``backbone.`` too: the trunk sees its keys and translates."""
    peer = peers.PEERS['mmpretrain_vit']()
    run = runner(Host(), save(peer.content, tmp_path / 'f.pth'), tmp_path)
    run.load_or_resume()
    features = run.model.eval()(peers.images())[-1]
    expected = peer.tokens(peers.images())[:, 1:].mT.unflatten(2, (GRID, GRID))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('prefix', ['backbone.', 'backbone', None])
def test_init_cfg_with_and_without_prefix(prefix, tmp_path):
    checkpoint = save(peers.this_project().content, tmp_path / 'f.pth')
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    model = vit(init_cfg=init_cfg | (dict(prefix=prefix) if prefix else {}))
    model.init_weights()
    expected = peers.this_project().content['state_dict']['backbone.cls_token']
    assert torch.equal(model.cls_token, expected)


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('make', [vit, Host, mae])
def test_own_state_dict_is_exact_and_silent(make, strict, logged):
    source, target = make(), make()
    peers.randomise(source)
    given = source.state_dict()
    before = {name: id(tensor) for name, tensor in given.items()}
    result = target.load_state_dict(given, strict=strict)
    assert not result.missing_keys and not result.unexpected_keys
    assert unchanged(target, source.state_dict())
    assert {name: id(tensor) for name, tensor in given.items()} == before
    assert not [record for record in logged if record.levelno >= logging.INFO]


def test_strict_still_means_strict():
    model = Host()
    with pytest.raises(UserError, match=r"begins with 'backbone\.'"):
        model.load_state_dict(Host().backbone.state_dict(), strict=True)
    state = Host().state_dict()
    with pytest.raises(RuntimeError, match=r'Unexpected.*neck\.weight'):
        model.load_state_dict(state | {'neck.weight': torch.ones(1)}, strict=True)
    del state['backbone.norm.weight']
    with pytest.raises(RuntimeError, match=r'Missing.*backbone\.norm\.weight'):
        model.load_state_dict(state, strict=True)


def test_given_state_dict_is_not_touched():
    given = peers.PEERS['mmpretrain_vit']().content['state_dict']
    names = list(given)
    Host().load_state_dict(given, strict=False)
    assert list(given) == names


def test_own_run_at_another_size_keeps_the_rest(logged):
    source = peers.randomise(Host(img_size=2 * SIZE))
    target = Host()
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.decode_head.weight, source.decode_head.weight)
    assert any('grid of 4x4' in record.getMessage() for record in logged)


def test_relative_positions_are_not_dropped_in_silence():
    source = peers.randomise(Host(rel_pos_img_size=SIZE))
    with pytest.raises(ValueError, match='relative positions'):
        Host().load_state_dict(source.state_dict(), strict=False)


def test_copied_models_understand_too():
    peer = peers.PEERS['mmpretrain_vit']()
    own = {key.removeprefix('backbone.'): t for key, t in peer.content['state_dict'].items()}
    for model in (nn.Sequential(Host()), copy.deepcopy(nn.Sequential(Host()))):
        model.load_state_dict({f'0.backbone.{key}': t for key, t in own.items()}, strict=False)
        assert torch.equal(model[0].backbone.cls_token, own['cls_token'])


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
def test_a_trunk_that_came_late_is_no_different(load):
    model = nn.Module()
    model.part = nn.Module()
    model.part.backbone = vit()
    for content in (peers.timm().content, peers.host_run().content['state_dict']):
        with pytest.raises(UserError, match=r"'part\.backbone\.'.*load_pretrained\(model, FILE\)"):
            if load == 'torch':
                model.load_state_dict(content, strict=False)
            else:
                load_state_dict(model, content)
    own = peers.randomise(copy.deepcopy(model))
    model.load_state_dict(own.state_dict())
    assert torch.equal(model.part.backbone.cls_token, own.part.backbone.cls_token)


def test_each_trunk_finds_its_own_in_a_pair():
    """Two encoders in the file under the model's own names: no choice to be made."""

    class Pair(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.one, self.two = vit(img_size=size), vit(img_size=size)

    source, target = peers.randomise(Pair(SIZE)), Pair(2 * SIZE)
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.one.cls_token, source.one.cls_token)
    assert torch.equal(target.two.cls_token, source.two.cls_token)
