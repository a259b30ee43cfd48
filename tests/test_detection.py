"""The B-size detection configs take a training step and a test step, at an eighth of the size."""

import numpy as np
import pytest
import torch
from dense_scenes import scene, small_config, write_coco
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import InstanceData

# The training size is 128x128 here.
SIZES = [(64, 64), (96, 160), (200, 120)]
VITDET = 'detection/mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'
FPN = 'detection/mask-rcnn_vit-b_mae-fpn_lsj-100e_coco.py'


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


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        VITDET,
        'detection/cascade-mask-rcnn_vitdet-b_mae_lsj-100e_coco.py',
        FPN,
        'detection/dino-4scale_vitdet-b_mae_lsj-12e_coco.py',
        'detection/mask-rcnn_vit-b_dinov3_lsj-100e_coco.py',
    ],
)
def test_one_training_and_one_test_step(name, coco):
    cfg = small_config(name, coco, divide=8)
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


@pytest.mark.slow
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('name', [VITDET, FPN])
@torch.no_grad()
def test_levels_show_each_place_at_the_strides_of_the_heads(name, size):
    """A bright patch of the picture changes each level most in the cell that lies there."""
    model = small_config(name, '', divide=8).model
    model.data_preprocessor.pad_size_divisor = 1
    model = build(ConfigDict(model=model)).eval()
    strides = [stride for stride, _ in model.rpn_head.prior_generator.strides]
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        assert extractor.featmap_strides == strides[:4]

    # Maps cover whole patches.
    height, width = (-(-side // 16) * 16 for side in size)
    top, left = height - 32, width // 32 * 16
    dark, bright = torch.zeros(1, 3, *size), torch.zeros(1, 3, *size)
    bright[..., top : top + 16, left : left + 16] = 5
    levels = zip(model.extract_feat(dark), model.extract_feat(bright), strides, strict=True)
    for before, after, stride in levels:
        change = (after - before)[0].norm(dim=0)
        assert change.shape == (-(-height // stride), -(-width // stride))
        row, column = divmod(int(change.argmax()), change.shape[1])
        assert top // stride - 1 <= row <= (top + 15) // stride + 1
        assert left // stride - 1 <= column <= (left + 15) // stride + 1


def tiny_detector():
    """The Mask R-CNN config with narrow layers, and without the padding to squares.

    Grids then differ from the trained one, and tables are resized.
    """
    model = small_config(VITDET, '', divide=8).model
    width = 64
    model.data_preprocessor.pad_size_divisor = 1
    model.backbone.update(
        arch=dict(embed_dims=48, num_layers=3, num_heads=3),
        global_attn_indexes=(1, 2),
        drop_path_rate=0.0,
    )
    model.neck.update(in_channels=48, out_channels=width)
    model.rpn_head.update(in_channels=width, feat_channels=width)
    heads = model.roi_head
    heads.bbox_roi_extractor.out_channels = heads.mask_roi_extractor.out_channels = width
    shared = dict(in_channels=width, conv_out_channels=width, num_classes=2)
    heads.bbox_head.update(shared, fc_out_channels=128)
    heads.mask_head.update(shared, num_convs=1)
    model.train_cfg.rpn.sampler.num, model.train_cfg.rcnn.sampler.num = 64, 32
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(model)
    # The heads keep torch's own initial values: mmdet's small ones take longer to grow.
    model.backbone.init_weights()
    return model


def labelled_scene(size, enlarged=1):
    """A scene of a red and a blue rectangle with its boxes and masks.

    Args:
        size: Of the input.
        enlarged: By how much the picture was larger before it was resized to the input.
    """
    image, boxes = scene(np.random.default_rng(0), *size)
    masks = np.zeros((2, *size), np.uint8)
    for mask, (x, y, w, h) in zip(masks, boxes):
        mask[y : y + h, x : x + w] = 1
    sample = DetDataSample(
        metainfo=dict(
            img_shape=size,
            ori_shape=(size[0] * enlarged, size[1] * enlarged),
            scale_factor=(1 / enlarged, 1 / enlarged),
        )
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).float(),
        labels=torch.arange(2),
        masks=BitmapMasks(masks, *size),
    )
    return torch.from_numpy(image).permute(2, 0, 1).contiguous(), sample


@pytest.fixture(scope='module')
def fitted_detector():
    """Trained, in seconds, to find the rectangles of one scene of each size."""
    model = tiny_detector().train()
    steps, scenes = 180, [labelled_scene(size) for size in SIZES]
    optim_wrapper = OptimWrapper(torch.optim.AdamW(model.parameters()))
    for step in range(steps):
        optim_wrapper.param_groups[0]['lr'] = 1e-3 if step < 0.7 * steps else 2e-4
        image, sample = scenes[step % len(scenes)]
        model.train_step(dict(inputs=[image], data_samples=[sample]), optim_wrapper)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize('enlarged', [1, 2])
@pytest.mark.parametrize('size', SIZES)
def test_rectangles_are_found_where_they_are(fitted_detector, size, enlarged):
    """Below, at and above the training size, in the coordinates of the original picture."""
    image, sample = labelled_scene(size, enlarged)
    truth = sample.gt_instances
    (result,) = fitted_detector.test_step(dict(inputs=[image], data_samples=[sample]))
    found = result.pred_instances
    masks = torch.from_numpy(truth.masks.masks).bool()
    masks = masks.repeat_interleave(enlarged, 1).repeat_interleave(enlarged, 2)
    for label in (0, 1):
        # The surest one.
        first = found[found.labels == label][0]
        assert bbox_overlaps(first.bboxes, truth.bboxes[[label]] * enlarged) > 0.5
        mask = first.masks[0]
        assert (mask & masks[label]).sum() > 0.5 * (mask | masks[label]).sum()
