"""Layer decay and weight decay against the official rules, written out parameter by parameter."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import CosineAnnealingLR, LinearLR, build_optim_wrapper
from torch import nn

from mae_plugin.models import ViT

LR, WD = 1e-3, 0.05
ARCH = dict(embed_dims=32, num_layers=3, num_heads=2)


class Detector(BaseModel):
    """A model of the shape that hosts have: the backbone sits below the top."""

    def __init__(self, **backbone) -> None:
        super().__init__()
        self.inner = nn.Module()
        self.inner.backbone = ViT(ARCH, img_size=32, layer_scale_init=1.0, **backbone)
        self.inner.backbone.blocks[0].attn.rel_pos_h = nn.Parameter(torch.zeros(3, 16))
        self.head = nn.Sequential(nn.Conv2d(32, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.inner.backbone(inputs)


def build(model, optimizer=None, wrapper=None, **paramwise):
    cfg = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=LR, weight_decay=WD) | (optimizer or {}),
        constructor='mae_plugin.ViTOptimWrapperConstructor',
        paramwise_cfg=paramwise,
    )
    return build_optim_wrapper(model, cfg | (wrapper or {}))


def settings(model, optim_wrapper):
    """(lr, weight_decay) by parameter name."""
    names = {id(param): name for name, param in model.named_parameters()}
    return {
        names[id(param)]: (group['lr'], group['weight_decay'])
        for group in optim_wrapper.optimizer.param_groups
        for param in group['params']
    }


def official_layer(name, num_blocks):
    """util/lr_decay.py of facebookresearch/mae: layer of a parameter, of num_blocks + 1."""
    if name in ('cls_token', 'pos_embed') or name.startswith('patch_embed'):
        return 0
    return int(name.split('.')[1]) + 1 if name.startswith('blocks') else num_blocks + 1


def official_finetune(name, param, rate, num_blocks):
    """(lr, weight decay) as facebookresearch/mae's fine-tuning gives it."""
    no_decay = param.ndim == 1 or name in ('pos_embed', 'cls_token')
    scale = rate ** (num_blocks + 1 - official_layer(name, num_blocks))
    return pytest.approx((LR * scale, 0.0 if no_decay else WD))


@pytest.mark.parametrize('arch', [ARCH, 'base'])
def test_layer_decay_equals_the_official_rule(arch):
    with torch.device('meta'):
        model = ViT(arch)
    found = settings(model, build(model, layer_decay_rate=0.75))
    expected = {
        name: official_finetune(name, param, 0.75, model.num_layers)
        for name, param in model.named_parameters()
        if name != 'pos_embed'
    }
    assert found == expected


def test_wherever_the_backbone_sits():
    model = Detector()
    model.inner.backbone.pos_embed.requires_grad_(True)
    found = settings(model, build(model, layer_decay_rate=0.5))
    prefix = 'inner.backbone.'
    for name, _ in model.named_parameters():
        if name.startswith(prefix):
            inner = name.removeprefix(prefix)
            lr = LR * 0.5 ** (4 - official_layer(inner, 3))
            decayed = inner.endswith('weight') and 'norm' not in inner
        else:
            lr, decayed = LR, name in ('head.0.weight', 'head.2.weight')
        assert found[name] == pytest.approx((lr, WD if decayed else 0.0)), name


def test_the_innermost_depth_counts():
    """mmpretrain's classifiers have a get_layer_depth that stands above their backbone's."""
    model = Detector()
    model.get_layer_depth = lambda name, prefix='': (0, 1)
    found = settings(model, build(model, layer_decay_rate=0.5))
    assert found['inner.backbone.blocks.2.norm1.weight'] == (LR * 0.5, 0.0)


def test_groups_are_merged():
    with torch.device('meta'):
        model = ViT('base')
    assert len(build(model).optimizer.param_groups) == 2
    # Two for the embeddings and for each of 12 blocks, one for the final norm.
    assert len(build(model, layer_decay_rate=0.75).optimizer.param_groups) == 27


def test_decay_tokens_is_the_official_pretraining_rule():
    """timm's add_weight_decay: what has more than one dimension and is no bias is decayed."""
    model = Detector()
    found = settings(model, build(model, decay_tokens=True))
    for name, param in model.named_parameters():
        if param.requires_grad:
            decayed = param.ndim > 1 and not name.endswith('.bias')
            assert found[name] == (LR, WD if decayed else 0.0), name
    assert found['inner.backbone.cls_token'] == (LR, WD)


def test_frozen_parameters_are_left_out():
    model = Detector()
    model.inner.backbone.blocks[0].requires_grad_(False)
    found = settings(model, build(model))
    trainable = {name for name, param in model.named_parameters() if param.requires_grad}
    assert set(found) == trainable
    assert 'inner.backbone.pos_embed' not in found


def test_custom_keys_multiply_layer_decay():
    model = Detector()
    keys = {'head': dict(lr_mult=10), 'head.0': dict(lr_mult=2, decay_mult=0.0)}
    keys['blocks.1'] = dict(lr_mult=0.1)
    found = settings(model, build(model, layer_decay_rate=0.5, custom_keys=keys))
    assert found['head.2.weight'] == pytest.approx((10 * LR, WD))
    assert found['head.0.weight'] == pytest.approx((2 * LR, 0))
    assert found['inner.backbone.blocks.1.mlp.fc1.weight'] == pytest.approx((LR * 0.025, WD))


def test_optimizer_without_weight_decay_of_its_own_still_spares_norms():
    model = ViT(ARCH, img_size=32)
    cfg = dict(optimizer=dict(type='AdamW', lr=LR))
    found = settings(model, build(model, wrapper=cfg))
    assert found['norm.weight'] == (LR, 0.0)
    assert found['blocks.0.mlp.fc1.weight'] == (LR, 0.01)


def test_ratios_outlast_the_schedule():
    model = Detector()
    optim_wrapper = build(model, layer_decay_rate=0.5)
    ratios = [group['lr'] / LR for group in optim_wrapper.optimizer.param_groups]
    schedulers = [
        LinearLR(optim_wrapper, start_factor=1e-3, by_epoch=False, begin=0, end=4),
        CosineAnnealingLR(optim_wrapper, T_max=6, by_epoch=False, begin=4, end=10),
    ]
    for _ in range(8):
        optim_wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
        lrs = [group['lr'] for group in optim_wrapper.optimizer.param_groups]
        top = max(lrs)
        assert [lr / top for lr in lrs] == pytest.approx(ratios)


@pytest.mark.parametrize('kernel', ['fused', 'foreach'])
def test_trains_with_accumulation_and_grouped_kernels(kernel):
    """Two accumulated steps equal plain AdamW with one group for each parameter."""
    torch.manual_seed(0)
    model = Detector()
    model.init_weights()
    reference = Detector()
    reference.load_state_dict(model.state_dict())
    images = torch.randn(4, 3, 32, 32)

    optim_wrapper = build(
        model,
        optimizer={kernel: True},
        wrapper=dict(accumulative_counts=2, clip_grad=dict(max_norm=1.0)),
        layer_decay_rate=0.5,
    )
    wanted = settings(model, optim_wrapper)
    optim_wrapper.initialize_count_status(model, 0, 2)
    for half in images.chunk(2):
        with optim_wrapper.optim_context(model):
            loss = model(half).pow(3).mean()
        optim_wrapper.update_params(loss)

    # Not the square: it is the same for every normalised token, and its gradient noise.
    reference(images).pow(3).mean().backward()
    trained = {n: p for n, p in reference.named_parameters() if p.requires_grad}
    nn.utils.clip_grad_norm_([p for p in trained.values() if p.grad is not None], 1.0)
    groups = [
        dict(params=[param], lr=wanted[name][0], weight_decay=wanted[name][1])
        for name, param in trained.items()
    ]
    torch.optim.AdamW(groups, foreach=False, fused=False).step()
    for name, param in model.named_parameters():
        torch.testing.assert_close(param, reference.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_a_model_in_a_wrapper():
    """DDP puts `module.` before every name; the groups stay the same."""
    wrapper = nn.Module()
    wrapper.module = model = Detector()
    plain = settings(model, build(model, layer_decay_rate=0.5))
    assert settings(model, build(wrapper, layer_decay_rate=0.5)) == plain


@pytest.mark.parametrize(
    ('wrapper', 'paramwise', 'message'),
    [
        ({}, dict(norm_decay_mult=0.0), 'unknown options .*norm_decay_mult'),
        ({}, dict(layer_decay_rate=1.5), r'layer_decay_rate=1.5 must be in \(0, 1\]'),
        (dict(optimizer=dict(type='AdamW')), {}, 'needs an lr'),
        (dict(optimizer=None), {}, 'needs optimizer=dict'),
    ],
)
def test_wrong_settings_are_told(wrapper, paramwise, message):
    with pytest.raises(ValueError, match=message):
        build(ViT(ARCH, img_size=32), wrapper=wrapper, **paramwise)


def test_models_that_cannot_be_served_are_told():
    with pytest.raises(ValueError, match='get_layer_depth'):
        build(nn.Linear(2, 2), layer_decay_rate=0.5)
    with pytest.raises(ValueError, match='no trainable parameter'):
        build(nn.Linear(2, 2).requires_grad_(False))
