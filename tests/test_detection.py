"""The B-size detection configs take a training step and a test step, at an eighth of the size."""

import pytest
import torch
from dense_scenes import small_config, write_coco
from mmdet.structures import DetDataSample
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import InstanceData


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('coco'))


def build(cfg):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def batch(cfg, loader):
    dataset = DATASETS.build(cfg[loader].dataset)
    return pseudo_collate([dataset[index] for index in range(2)])


@pytest.mark.parametrize(
    'name',
    [
        'mask-rcnn_vitdet-b_mae_lsj-100e_coco',
        'cascade-mask-rcnn_vitdet-b_mae_lsj-100e_coco',
        'mask-rcnn_vit-b_mae-fpn_lsj-100e_coco',
        'dino-4scale_vitdet-b_mae_lsj-12e_coco',
    ],
)
def test_one_training_and_one_test_step(name, coco):
    cfg = small_config(f'detection/{name}.py', coco, divide=8)
    model = build(cfg)
    assert len(model.backbone.blocks) == 12
    assert model.backbone.embed_dims == 768
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    model.train()
    losses = model.train_step(batch(cfg, 'train_dataloader'), optim_wrapper)
    assert all(torch.isfinite(value).all() for value in losses.values())
    state = optim_wrapper.optimizer.state
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p not in state]

    model.eval()
    results = model.test_step(batch(cfg, 'test_dataloader'))
    assert len(results) == 2
    for result in results:
        assert isinstance(result.pred_instances, InstanceData)
        boxes = result.pred_instances.bboxes
        assert torch.isfinite(boxes).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([128, 96, 128, 96]) + 1e-3).all()


@pytest.mark.parametrize('size', [(64, 64), (96, 160), (200, 120)])
def test_images_below_at_and_above_the_training_size(size):
    """Without the square padding, grids differ from the trained one and tables are resized."""
    cfg = small_config('detection/mask-rcnn_vitdet-b_mae_lsj-100e_coco.py', '', divide=8)
    cfg.model.backbone.arch = dict(embed_dims=48, num_layers=3, num_heads=3)
    cfg.model.backbone.global_attn_indexes = (1, 2)
    cfg.model.neck.in_channels = 48
    cfg.model.data_preprocessor.pad_size_divisor = 1
    model = build(cfg).eval()
    model.roi_head.test_cfg.score_thr = 0.0
    image = torch.randint(0, 255, (3, *size), dtype=torch.uint8)
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
    (result,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
    found = result.pred_instances
    assert len(found) == 16
    assert found.masks.shape == (16, *size)
    assert (found.bboxes >= 0).all()
    height, width = size
    assert (found.bboxes <= torch.tensor([width, height, width, height]) + 1e-3).all()
