"""Classification through mmpretrain: the official recipe of ViT-B, and what freezing leaves."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope, init_default_scope

from mae_plugin.errors import UserError
from mae_plugin.models import TokenPool
from mae_plugin.models.token_pool import check_neck

ROOT = Path(__file__).resolve().parents[2] / 'configs' / 'classification'
TINY = dict(type='mae_plugin.ViT', arch=dict(embed_dims=16, num_layers=4, num_heads=2))
TINY |= dict(img_size=16, patch_size=8, init_cfg=None)


@pytest.fixture(autouse=True)
def scope():
    before = DefaultScope.get_current_instance()
    init_default_scope('mmpretrain')
    yield
    if before is not None:
        init_default_scope(before.scope_name)


def build(name, tiny=False, **backbone):
    """Model of a config and its optimizer; ViT-B without memory, on the meta device."""
    cfg = Config.fromfile(ROOT / f'{name}.py')
    cfg.model.backbone.update(TINY if tiny else {}, **backbone)
    if tiny:
        cfg.model.neck.dims = cfg.model.head.in_channels = 16
    with torch.device('cpu' if tiny else 'meta'):
        model = MODELS.build(cfg.model)
    return cfg, model, build_optim_wrapper(model, cfg.optim_wrapper).optimizer


def settings(model, optimizer):
    """{parameter name: (lr, weight decay)} as the optimizer has it."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }


# lr_scale of main_finetune.py with --layer_decay 0.65: 0.65 ** (13 - layer id).
LAYER_LRS = {
    'patch_embed': 7.3944e-6,
    'cls_token': 7.3944e-6,
    'pos_embed': 7.3944e-6,
    'blocks.0': 1.1376e-5,
    'blocks.1': 1.7502e-5,
    'blocks.2': 2.6925e-5,
    'blocks.3': 4.1424e-5,
    'blocks.4': 6.3729e-5,
    'blocks.5': 9.8045e-5,
    'blocks.6': 1.5084e-4,
    'blocks.7': 2.3206e-4,
    'blocks.8': 3.5701e-4,
    'blocks.9': 5.4925e-4,
    'blocks.10': 8.4500e-4,
    'blocks.11': 1.3000e-3,
    'neck.fc_norm': 2.0000e-3,
    'head.fc': 2.0000e-3,
}


def official_decay(name, ndim):
    """param_groups_lrd: none for tensors of one dimension, pos_embed and cls_token."""
    return 0.0 if ndim == 1 or name.endswith(('pos_embed', 'cls_token')) else 0.05


@pytest.mark.slow
def test_optimizer_of_vit_b_is_the_official_recipes():
    cfg, model, optimizer = build('finetune_vit-b_mae_100e_in1k')
    assert optimizer.defaults['betas'] == (0.9, 0.999)
    found = settings(model, optimizer)
    parameters = dict(model.named_parameters())
    assert set(found) == set(parameters)  # all of them are trained
    seen = set()
    for name, (lr, decay) in found.items():
        short = name.removeprefix('backbone.')
        part = '.'.join(short.split('.')[:2])
        key = part if part in LAYER_LRS else short.split('.')[0]
        seen.add(key)
        assert lr == pytest.approx(LAYER_LRS[key], rel=1e-4), name
        assert decay == official_decay(name, parameters[name].ndim), name
    assert seen == set(LAYER_LRS)
    # 14 depths, each with and without decay; only the embeddings' have both, too.
    assert len(optimizer.param_groups) == 28
    assert cfg.train_cfg.max_epochs == 100
    assert [block.drop_path.drop_prob for block in list(model.backbone.blocks)[1:]] == (
        pytest.approx([0.1 * index / 11 for index in range(1, 12)])
    )


def official_lr(epoch, lr, min_lr, warmup, epochs):
    """lr_sched.adjust_learning_rate of the official code."""
    if epoch < warmup:
        return lr * epoch / warmup
    cosine = math.cos(math.pi * (epoch - warmup) / (epochs - warmup))
    return min_lr + (lr - min_lr) * 0.5 * (1 + cosine)


@pytest.mark.parametrize(
    'name, lr, min_lr, warmup, epochs, iterations',
    [
        ('finetune_vit-b_mae_100e_in1k', 2e-3, 1e-6, 5, 100, 1251),
        ('finetune_vit-l_mae_50e_in1k', 4e-3, 1e-6, 5, 50, 1251),
        ('linear_vit-b_mae_90e_in1k', 6.4, 0.0, 10, 90, 78),
        ('scratch_vit-b_300e_in1k', 1.6e-3, 0.0, 20, 300, 312),
    ],
)
def test_learning_rate_at_given_iterations_is_the_closed_form(
    name, lr, min_lr, warmup, epochs, iterations
):
    cfg = Config.fromfile(ROOT / f'{name}.py')
    scales = (1.0, 0.65)  # layer decay lasts for the whole schedule
    groups = [dict(params=[torch.zeros(1)], lr=lr * scale) for scale in scales]
    optimizer = torch.optim.SGD(groups, lr=lr)
    schedulers = [
        PARAM_SCHEDULERS.build(
            dict(scheduler, end=scheduler.get('end', epochs)),
            default_args=dict(optimizer=optimizer, epoch_length=iterations),
        )
        for scheduler in cfg.param_scheduler
    ]
    marks = {0, 1, iterations, warmup * iterations - 1, warmup * iterations}
    marks |= {epochs // 2 * iterations, (epochs - 1) * iterations, epochs * iterations - 1}
    # mmengine's phases end one iteration early: that much of warm-up is the tolerance.
    step = lr / (warmup * iterations)
    for iteration in range(epochs * iterations):
        if iteration in marks:
            expected = official_lr(iteration / iterations, lr, min_lr, warmup, epochs)
            for group, scale in zip(optimizer.param_groups, scales):
                assert group['lr'] == pytest.approx(expected * scale, abs=1.01 * step), iteration
        for scheduler in schedulers:
            scheduler.step()


def loss_of(model):
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(label) for label in (0, 1, 2, 1)]
    inputs = torch.rand(4, 3, 16, 16) * 255
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
    return sum(model.loss(**data).values())


@pytest.mark.parametrize('name', ['partial-half_vit-l_mae_50e_in1k', 'linear_vit-b_mae_90e_in1k'])
def test_a_step_moves_what_is_tuned_and_nothing_else(name):
    half = name.startswith('partial')
    _, model, optimizer = build(name, tiny=True, frozen_stages=3.5 if half else 4)
    model.init_weights()
    with torch.no_grad():
        for group in optimizer.param_groups:
            group.update(lr=1.0, weight_decay=0.5)  # decay would show at once
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    loss_of(model).backward()
    optimizer.step()
    moved = {
        key
        for key, value in model.state_dict().items()
        if value.is_floating_point() and not torch.equal(value, before[key])
    }
    tuned = ('backbone.blocks.3.norm2', 'backbone.blocks.3.mlp', 'neck.', 'head.')
    allowed = tuned if half else ('neck.fc_norm.running', 'head.')
    assert moved and all(key.startswith(allowed) for key in moved), moved
    held = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert not held & set(settings(model, optimizer))
    assert all(p.grad is None for name, p in model.named_parameters() if name in held)


def test_the_linear_probes_features_are_the_unmasked_encoders():
    _, model, _ = build('linear_vit-b_mae_90e_in1k', tiny=True, frozen_stages=4)
    pretrained = MODELS.build(
        dict(
            type='mae_plugin.MAE',
            backbone=TINY,
            decoder=dict(
                type='mae_plugin.MAEDecoder', in_dims=16, embed_dims=8, depth=1, num_heads=2,
                img_size=16, patch_size=8,
            ),
            head=dict(
                type='mae_plugin.ReconstructionHead', in_dims=8,
                target=dict(type='mae_plugin.PixelTarget', patch_size=8),
            ),
        )
    )  # fmt: skip
    pretrained.init_weights()
    model.backbone.load_state_dict(pretrained.backbone.state_dict())
    images = torch.randn(3, 3, 16, 16)
    model.train()
    tokens = pretrained.eval()(images, mode='tensor')
    assert torch.equal(model.backbone(images), tokens)
    model.eval()
    (feature,) = model.extract_feat(images)  # BatchNorm before its first batch: mean 0, var 1
    torch.testing.assert_close(feature, tokens[:, 0] / (1 + 1e-6) ** 0.5)


def test_a_head_that_would_get_tokens_is_refused():
    """Without a neck the last image's 5 tokens would be scored as 5 images."""
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=TINY,
            head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
        )
    )
    optim_wrapper = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.1),
        constructor='mae_plugin.ViTOptimWrapperConstructor',
    )
    message = "one feature for each image: add neck=.*TokenPool', dims=16"
    with pytest.raises(UserError, match=message):
        build_optim_wrapper(model, optim_wrapper)
    with pytest.raises(UserError, match=message):
        check_neck(torch.nn.DataParallel(model))
    model.neck = TokenPool(16)
    build_optim_wrapper(model, optim_wrapper)
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 3)
