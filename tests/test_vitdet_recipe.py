"""ViTDet's optimizer and schedule against detectron2's rules, written out here."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import (
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    PARAM_SCHEDULERS,
    init_default_scope,
)
from test_configs import ROOT
from torch import nn

from mae_plugin.models import LayerNorm2d

# size: epochs, layer decay, blocks, whether norms and positions are spared from weight decay
SIZES = dict(b=(100, 0.7, 12, True), l=(100, 0.8, 24, True), h=(75, 0.9, 32, False))
HEADS = ('mask-rcnn', 'cascade-mask-rcnn')


def load(head, size):
    name = f'{head}_vitdet-{size}_mae_lsj-{SIZES[size][0]}e_coco.py'
    return Config.fromfile(ROOT / 'detection' / name)


def detectron2_rule(module, name, leaf, size):
    """(lr, weight decay): ``get_default_optimizer_params`` and ``get_vit_lr_decay_rate``.

    Its norms are torch's own classes: the channels-first LayerNorm of pyramid and heads, ours
    ``LayerNorm2d``, is none of them. ``weight_decay_norm`` is 0 in B and L, None (no exception) in
    H; ``overrides`` spares 'pos_embed' in B and L.
    """
    _, rate, blocks, spares = SIZES[size]
    layer = blocks + 1
    if name.startswith('backbone'):
        if '.pos_embed' in name or '.patch_embed' in name:
            layer = 0
        elif '.blocks.' in name:
            layer = int(name.split('.blocks.')[1].split('.')[0]) + 1
    is_norm = isinstance(module, nn.LayerNorm) and not isinstance(module, LayerNorm2d)
    spared = spares and (is_norm or leaf == 'pos_embed')
    return 1e-4 * rate ** (blocks + 1 - layer), 0.0 if spared else 0.1


@pytest.mark.slow
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('head', HEADS)
def test_learning_rates_and_decay(head, size):
    cfg = load(head, size)
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    wrapper = dict(cfg.optim_wrapper)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type=wrapper.pop('constructor'),
            paramwise_cfg=wrapper.pop('paramwise_cfg'),
            optim_wrapper_cfg=wrapper,
        )
    )
    found = {
        id(param): (group['lr'], group['weight_decay'])
        for group in constructor.param_groups(model)
        for param in group['params']
    }
    checked = 0
    for prefix, module in model.named_modules():
        for leaf, param in module.named_parameters(recurse=False):
            name = f'{prefix}.{leaf}'
            assert found[id(param)] == pytest.approx(detectron2_rule(module, name, leaf, size)), (
                name
            )
            checked += 1
    assert checked == len(found)


@pytest.mark.slow
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('head', HEADS)
def test_warm_up_and_decays(head, size):
    """detectron2 counts in shares of training, 250 / 184,375 of warm-up: 187.5 updates of H."""
    cfg = load(head, size)
    updates = cfg.train_cfg.max_iters
    warm_up = 250 / 184375 * updates
    milestones = [184375 * 0.8889, 184375 * 0.9630]
    optimizer = OptimWrapper(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0))
    schedulers = [
        PARAM_SCHEDULERS.build(part, default_args=dict(optimizer=optimizer))
        for part in cfg.param_scheduler
    ]
    for step in range(300):
        expected = min(1.0, 0.001 + 0.999 * step / warm_up)
        assert optimizer.param_groups[0]['lr'] == pytest.approx(expected, abs=0.005), step
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    shares = [step / updates for step in sorted(schedulers[1].milestones)]
    assert shares == pytest.approx([step / 184375 for step in milestones], abs=1e-4)
