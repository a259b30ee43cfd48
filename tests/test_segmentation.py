"""Segmentation configs: a step at B size; slides and scales of any size give sane results."""

from types import SimpleNamespace

import cv2
import pytest
import torch
from dense_scenes import COLOURS, CONFIGS, small_config, write_ade
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, HOOKS, MODELS, init_default_scope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

UPERNET = 'segmentation/upernet_vit-b_mae_160k_ade20k-512x512.py'
MULTI_SCALE = 'segmentation/upernet_vit-b_mae_160k_ade20k-512x512-ms.py'
LINEAR = 'segmentation/linear_vit-b_mae_40k_ade20k-512x512.py'
LINEAR_DINOV2 = 'segmentation/linear_vit-b_dinov2_40k_ade20k-512x512.py'
FPN_DETECTOR = 'detection/mask-rcnn_vit-b_mae-fpn_lsj-100e_coco.py'
# The crop is 128x128 here.
SIZES = [(64, 64), (48, 200), (128, 128), (192, 256), (150, 333)]


@pytest.fixture(scope='module')
def ade(tmp_path_factory):
    return write_ade(tmp_path_factory.mktemp('ade'))


def config(name, data_root='', tiny=False):
    """A config at a quarter of its size; ``tiny`` with four narrow blocks and two classes."""
    cfg = small_config(name, data_root, divide=4)
    if tiny:
        model = cfg.model.get('module', cfg.model)
        model.backbone.arch = dict(embed_dims=48, num_layers=4, num_heads=3)
        if name == LINEAR:
            model.backbone.frozen_stages = 4
            model.neck.in_channels = [48]
            model.decode_head.update(in_channels=48, channels=48, num_classes=2)
        else:
            model.backbone.out_indices = (0, 1, 2, 3)
            model.neck.embed_dim = 48
            model.decode_head.update(in_channels=[48] * 4, channels=16, num_classes=2)
            model.auxiliary_head.update(in_channels=48, channels=16, num_classes=2)
    return cfg


def build(cfg):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def batch(cfg, loader):
    dataset = DATASETS.build(cfg[loader].dataset)
    return pseudo_collate([dataset[index] for index in range(2)])


@pytest.mark.slow
@pytest.mark.parametrize('name', [UPERNET, LINEAR, LINEAR_DINOV2])
def test_one_training_and_one_test_step(name, ade):
    cfg = config(name, ade)
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
    for result in model.test_step(batch(cfg, 'test_dataloader')):
        assert result.pred_sem_seg.data.shape == (1, 96, 128)
        assert torch.isfinite(result.seg_logits.data).all()


def test_only_a_linear_layer_stands_between_frozen_features_and_classes():
    model = build(config(LINEAR, tiny=True))
    trained = {n: tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        'neck.norms.0.weight': (48,),
        'neck.norms.0.bias': (48,),
        'decode_head.conv_seg.weight': (2, 48, 1, 1),
        'decode_head.conv_seg.bias': (2,),
    }


@pytest.mark.parametrize('name', [UPERNET, LINEAR, FPN_DETECTOR])
def test_shorter_run_is_a_delta_of_one_number(name, tmp_path):
    """The learning rate falls to zero at the end, wherever the child config puts it."""
    cfg = Config.fromfile(CONFIGS / name)
    cfg.merge_from_dict({'train_cfg.max_iters': 2000})
    model = torch.nn.Linear(1, 1)
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(batch_size=1, dataset=[0], sampler=dict(type='DefaultSampler')),
        train_cfg=cfg.train_cfg,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0)),
        param_scheduler=cfg.param_scheduler,
        default_scope='mmengine',
        experiment_name=tmp_path.name,
    )
    runner._train_loop = runner.build_train_loop(cfg.train_cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    rates = []
    for _ in range(2000):
        rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        runner.optim_wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert max(rates) > 0.7
    assert rates[-1] < 0.01


def picture(size, axis, first):
    """A picture whose halves along ``axis`` have one class's colour each, and its labels."""
    labels = torch.full(size, 1 - first)
    labels.narrow(axis, 0, size[axis] // 2).fill_(first)
    return torch.tensor(COLOURS, dtype=torch.uint8)[labels].permute(2, 0, 1), labels


def sample(size, labels=None):
    data_sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
    if labels is not None:
        data_sample.gt_sem_seg = PixelData(data=labels[None])
    return data_sample


@pytest.fixture(scope='module')
def colour_model():
    """The linear config, with a random encoder, trained to tell the two colours apart."""
    cfg = config(LINEAR, tiny=True)
    cfg.optim_wrapper.optimizer.lr = 0.02
    model = build(cfg).train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    pictures = [picture((128, 128), axis, first) for axis in (0, 1) for first in (0, 1)]
    inputs = [image for image, _ in pictures]
    for _ in range(30):
        samples = [sample((128, 128), labels) for _, labels in pictures]
        model.train_step(dict(inputs=inputs, data_samples=samples), optim_wrapper)
    return model.eval()


@pytest.mark.parametrize('mode', ['slide', 'whole'])
@pytest.mark.parametrize('size', SIZES)
def test_any_size_is_segmented(colour_model, size, mode):
    """Pictures below, at and above the training crop, and no multiple of the patch."""
    colour_model.test_cfg.mode = mode
    for axis in (0, 1):
        image, labels = picture(size, axis, 0)
        (result,) = colour_model.test_step(dict(inputs=[image], data_samples=[sample(size)]))
        assert result.seg_logits.data.shape == (2, *size)
        accuracy = (result.pred_sem_seg.data[0] == labels).float().mean()
        # Patches across the border between the colours are nobody's.
        assert accuracy > 0.85


@pytest.mark.slow
@pytest.mark.parametrize('size', ['vit-b', 'vit-l'])
def test_multi_scale_is_multi_scale(size, ade):
    """Six scales, each mirrored; mmseg's own -ms config tests one."""
    cfg = config(MULTI_SCALE.replace('vit-b', size), ade, tiny=True)
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, _scope_='mmseg'))
    inputs = dataset[0]['inputs']
    assert [tuple(image.shape[1:]) for image in inputs[::2]] == [
        (int(128 * ratio), round(128 * ratio * 128 / 96))
        for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    ]
    for plain, mirrored in zip(inputs[::2], inputs[1::2]):
        assert torch.equal(plain.flip(2), mirrored)

    single = build(config(UPERNET.replace('vit-b', size), tiny=True))
    # As mmengine's Runner loads what the training config saved, and wraps it for the test.
    loaded = build(cfg).eval()
    load_state_dict(loaded, single.state_dict(), strict=True)
    runner = SimpleNamespace(model=loaded)
    for hook in cfg.custom_hooks:
        HOOKS.build(hook).before_test(runner)
    multi = runner.model
    (merged,) = multi.test_step(pseudo_collate([dataset[0]]))
    samples = dataset[0]['data_samples']
    expected = torch.zeros(2, 96, 128)
    for image, data_sample in zip(inputs, samples):
        (result,) = single.eval().test_step(dict(inputs=[image], data_samples=[data_sample]))
        expected += result.seg_logits.data.softmax(0)
    assert torch.equal(merged.pred_sem_seg.data[0], expected.argmax(0))


def test_multi_scale_puts_every_scale_back(colour_model, tmp_path):
    """A scale or a mirror image put back wrongly would blur the border between the colours."""
    cfg = config(MULTI_SCALE)
    init_default_scope('mmseg')
    colour_model.test_cfg.mode = 'slide'
    multi = MODELS.build(dict(type='SegTTAModel', module=colour_model))
    image, labels = picture((96, 160), 1, 0)
    paths = dict(img_path=str(tmp_path / 'image.png'), seg_map_path=str(tmp_path / 'labels.png'))
    cv2.imwrite(paths['img_path'], image.permute(1, 2, 0).numpy())
    cv2.imwrite(paths['seg_map_path'], labels.numpy().astype('uint8') + 1)
    data = Compose(cfg.test_dataloader.dataset.pipeline)(
        dict(paths, seg_fields=[], reduce_zero_label=True)
    )
    (result,) = multi.test_step(pseudo_collate([data]))
    assert (result.gt_sem_seg.data == labels).all()
    assert (result.pred_sem_seg.data == labels).float().mean() > 0.9
