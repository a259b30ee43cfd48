"""Low-rank adapters: the paper's formula, alone in the checkpoint, merged without a trace."""

import copy

import mmengine.runner.checkpoint as mmengine_checkpoint
import pytest
import torch
from torch import nn

from mae_plugin.errors import UserError
from mae_plugin.models import LoRA, ViTBackbone
from mae_plugin.registry import MODELS

SIZES = dict(arch=dict(embed_dims=12, num_layers=2, num_heads=2), img_size=32, patch_size=8)
WINDOWS = dict(window_size=3, with_cls_token=False, global_attn_indexes=(1,), **SIZES)
ADAPTED = [f'blocks.{block}.attn.{name}' for block in (0, 1) for name in ('qkv', 'proj')]


def backbone():
    torch.manual_seed(0)
    model = ViTBackbone(**WINDOWS)
    model.init_weights()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def adapted(rank=2, alpha=6.0):
    """A LoRA whose adapters do something."""
    model = LoRA(backbone(), rank=rank, alpha=alpha)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.abs().sum() == 0 or name.endswith('down')
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def factors(model, name):
    adapter = model.module.get_submodule(f'{name}.parametrizations.weight')[0]
    return adapter.up, adapter.down


IMAGES = torch.randn(2, 3, 40, 37, generator=torch.Generator().manual_seed(2))


def test_a_new_one_gives_what_its_backbone_gives():
    torch.testing.assert_close(LoRA(backbone())(IMAGES), backbone()(IMAGES))


def test_each_weight_has_the_scaled_product_added():
    model, plain = adapted(), backbone()
    for name in ADAPTED:
        up, down = factors(model, name)
        plain.get_submodule(name).weight.data += 6.0 / 2 * up @ down
    assert not torch.allclose(plain(IMAGES)[0], backbone()(IMAGES)[0], atol=0.1)
    torch.testing.assert_close(model(IMAGES), plain(IMAGES))


def test_adapters_alone_are_trained():
    model = LoRA(backbone(), rank=2).train()
    model(IMAGES)[0].square().mean().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {
        f'module.{name}.parametrizations.weight.0.{factor}'
        for name in ADAPTED
        for factor in ('up', 'down')
    }
    assert model.adapter_size == 2 * 2 * ((36 + 12) + (12 + 12))


@pytest.mark.parametrize('loads', ['torch', 'mmengine'])
def test_adapters_alone_are_stored_and_loaded(loads):
    model = nn.ModuleDict(dict(backbone=adapted(), neck=nn.Linear(3, 3)))
    stored = mmengine_checkpoint.get_state_dict(model)
    assert stored.keys() == model.state_dict().keys()
    assert len(stored) == 2 * len(ADAPTED) + 2
    other = nn.ModuleDict(dict(backbone=LoRA(backbone(), rank=2, alpha=6.0), neck=nn.Linear(3, 3)))
    if loads == 'torch':
        other.load_state_dict(stored, strict=True)
    else:
        mmengine_checkpoint.load_state_dict(other, stored, strict=True)
    torch.testing.assert_close(other.backbone(IMAGES), model.backbone(IMAGES))


def test_merged_it_is_an_ordinary_backbone():
    model = adapted()
    wanted = model(IMAGES)
    plain = backbone()
    plain.load_state_dict(copy.deepcopy(model).merge().state_dict(), strict=True)
    torch.testing.assert_close(plain(IMAGES), wanted)


def test_weights_come_from_its_modules_file(tmp_path):
    source = backbone()
    torch.save(source.state_dict(), tmp_path / 'vit.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth'), num_heads=2)
    config = dict(type='LoRA', module=dict(type='ViTBackbone', init_cfg=init, **WINDOWS))
    model = MODELS.build(config).eval()
    trained = [p for p in model.parameters() if p.requires_grad]  # an optimizer has them by now
    model.init_weights()
    torch.testing.assert_close(model(IMAGES), source(IMAGES))
    assert all(a is b for a, b in zip(trained, (p for p in model.parameters() if p.requires_grad)))
    nn.init.normal_(trained[0])
    tested = MODELS.build(config).eval()
    tested.load_state_dict(model.state_dict(), strict=True)  # initialises nothing
    torch.testing.assert_close(tested(IMAGES), model(IMAGES))
    assert not torch.allclose(tested(IMAGES)[0], source(IMAGES)[0])
    assert model.patch_size == 8
    assert model.get_layer_depth('backbone.module.blocks.1.attn', 'backbone.') == (2, 4)


def test_what_cannot_be_adapted_or_loaded_is_refused():
    with pytest.raises(UserError, match=r"targets=\('query',\).*no linear layer"):
        LoRA(backbone(), targets=['query'])
    with pytest.raises(UserError, match='rank=0'):
        LoRA(backbone(), rank=0)
    with pytest.raises(UserError, match=r'no adapter .* init_cfg'):
        LoRA(backbone()).load_state_dict(backbone().state_dict(), strict=False)
