"""Bands and grey in mmseg and mmdet: from a MAE's checkpoint to a step on what it saw.

The reference for the batch that reaches the backbone is what the pretraining config's own
preprocessor makes of the file's values.
"""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from dense_scenes import CONFIGS, small_config, write_coco
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner

from mae_plugin.engine.hooks import BandVisualizationHook
from mae_plugin.models import MAE

ARCH = dict(embed_dims=48, num_layers=4, num_heads=3)
UPERNET = 'segmentation/upernet_vit-b_mae_12band_160k_folder-256x256.py'
GREY = 'detection/mask-rcnn_vitdet-b_mae_grey_lsj-100e_coco.py'
SIDE = 64


def pretrained(name, path, img_size):
    """Checkpoint of a tiny MAE of a pretraining config, and its preprocessor."""
    cfg = Config.fromfile(CONFIGS / 'pretrain' / name).model
    cfg.backbone.update(arch=ARCH, img_size=img_size)
    cfg.decoder.update(in_dims=48, embed_dims=16, depth=1, num_heads=2, img_size=img_size)
    cfg.head.in_dims = 16
    cfg.pop('type')
    model = MAE(**cfg)
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return model


@pytest.fixture(scope='module')
def bands(tmp_path_factory):
    """Twelve-band images: training ones as large as the crop, validation ones larger."""
    root = tmp_path_factory.mktemp('bands')
    for split, size in (('training', (SIDE, SIDE)), ('validation', (80, 112))):
        for folder in ('images', 'annotations'):
            (root / folder / split).mkdir(parents=True)
        for seed in range(2):
            rng = np.random.default_rng(seed)
            image = rng.integers(0, 10_000, (*size, 12), dtype=np.uint16)
            labels = rng.integers(0, 5, size, dtype=np.uint8)
            path = root / 'images' / split / f'{seed}.tif'
            tifffile.imwrite(path, image, photometric='minisblack', planarconfig='contig')
            cv2.imwrite(str(root / 'annotations' / split / f'{seed}.png'), labels)
    return root


def upernet(data_root, checkpoint=None):
    cfg = small_config(UPERNET, data_root, divide=4)
    cfg.model.backbone.arch = ARCH
    cfg.model.backbone.out_indices = (0, 1, 2, 3)
    cfg.model.neck.embed_dim = 48
    cfg.model.decode_head.update(in_channels=[48] * 4, channels=16)
    cfg.model.auxiliary_head.update(in_channels=48, channels=16)
    if checkpoint:
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint))
    return cfg


def build(cfg, scope):
    init_default_scope(scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    return model, seen


def batch(cfg, loader, count=2):
    dataset = DATASETS.build(cfg[loader].dataset)
    return pseudo_collate([dataset[index] for index in range(count)])


def assert_pretrained(backbone, mae):
    """Patches, which know the bands' order, and blocks come from the checkpoint."""
    theirs = mae.backbone.state_dict()
    for name in ('patch_embed.proj.weight', 'blocks.3.mlp.fc2.weight'):
        assert torch.equal(backbone.state_dict()[name], theirs[name])


@pytest.mark.slow
def test_twelve_bands_in_mmseg(bands, tmp_path):
    mae = pretrained('mae_vit-b-p8_12band.py', tmp_path / 'mae.pth', 32)
    cfg = upernet(bands, tmp_path / 'mae.pth')
    model, seen = build(cfg, 'mmseg')
    assert_pretrained(model.backbone, mae)

    def file_as_pretraining(split, number):
        pixels = tifffile.imread(bands / 'images' / split / f'{number}.tif').astype(np.float32)
        inputs = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        return mae.data_preprocessor(dict(inputs=inputs))['inputs'][0]

    model.train()
    data = batch(cfg, 'train_dataloader')
    labels = [sample.gt_sem_seg.data[0].clone() for sample in data['data_samples']]
    losses = model.train_step(data, build_optim_wrapper(model, cfg.optim_wrapper))
    assert all(torch.isfinite(value).all() for value in losses.values())
    (inputs,) = seen
    assert inputs.shape == (2, 12, SIDE, SIDE)
    for number, image in enumerate(inputs):
        path = bands / 'annotations/training' / f'{number}.png'
        truth = torch.from_numpy(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
        expected = file_as_pretraining('training', number)
        # The crop is the whole image, maybe mirrored, as are the labels.
        mirrored = [
            dims
            for dims in ([], [-1], [-2], [-2, -1])
            if torch.allclose(image, expected.flip(dims), rtol=1e-5, atol=1e-5)
        ]
        assert len(mirrored) == 1
        assert torch.equal(labels[number].to(torch.uint8), truth.flip(mirrored[0]))

    seen.clear()
    (result,) = model.eval().test_step(batch(cfg, 'test_dataloader', 1))
    assert result.pred_sem_seg.data.shape == (1, 80, 112)
    expected = file_as_pretraining('validation', 0)
    # The first slide and the last.
    torch.testing.assert_close(seen[0][0], expected[:, :SIDE, :SIDE], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen[-1][0], expected[:, -SIDE:, -SIDE:], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope='module')
def grey_coco(tmp_path_factory):
    """The scenes in grey, of 16 bits."""
    root = write_coco(tmp_path_factory.mktemp('grey'), height=128, width=128)
    for split in ('train2017', 'val2017'):
        for path in (root / split).glob('*.png'):
            grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257
            cv2.imwrite(str(path), grey)
    return root


def mask_rcnn(data_root):
    cfg = small_config(GREY, data_root, divide=8)
    cfg.model.backbone.update(arch=ARCH, img_size=(80, 48), global_attn_indexes=(1, 3))
    cfg.model.neck.in_channels = 48
    return cfg


@pytest.mark.slow
def test_grey_of_sixteen_bits_in_mmdet(grey_coco, tmp_path):
    mae = pretrained('mae_vit-b-p16_grey-160x96.py', tmp_path / 'mae.pth', (80, 48))
    cfg = mask_rcnn(grey_coco)
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'mae.pth'))
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform.type == 'RandomResize':  # pixels of its results are nobody's reference
            transform.ratio_range = (1.0, 1.0)
    model, seen = build(cfg, 'mmdet')
    assert_pretrained(model.backbone, mae)

    def file_as_pretraining(split, number):
        pixels = cv2.imread(str(grey_coco / split / f'{number}.png'), cv2.IMREAD_UNCHANGED) // 257
        # torch 2.1 has no uint16.
        inputs = torch.from_numpy(pixels.astype(np.float32))[None, None]
        return mae.data_preprocessor(dict(inputs=inputs))['inputs'][0]

    model.train()
    losses = model.train_step(
        batch(cfg, 'train_dataloader'), build_optim_wrapper(model, cfg.optim_wrapper)
    )
    assert all(torch.isfinite(value).all() for value in losses['loss'].reshape(-1))
    model.eval().test_step(batch(cfg, 'test_dataloader'))
    for split, inputs in zip(('train2017', 'val2017'), seen, strict=True):
        assert inputs.shape == (2, 1, 128, 128)
        for number, image in enumerate(inputs):
            expected = file_as_pretraining(split, number)
            assert any(
                torch.allclose(image, candidate, rtol=1e-5, atol=1e-5)
                for candidate in (expected, expected.flip(-1))
            )


@pytest.mark.slow
def test_predictions_on_bands_are_drawn(bands, tmp_path):
    """Bands 3, 2 and 1 shine through the classes as red, green and blue."""
    cfg = upernet(bands)
    cfg.merge_from_dict(
        {'default_hooks.visualization.draw': True, 'work_dir': str(tmp_path), 'launcher': 'none'}
    )
    runner = Runner.from_cfg(cfg)
    runner.val()
    runner.test()
    pictures = sorted(tmp_path.rglob('*.png'))
    assert [path.name.split('.')[0] for path in pictures] == ['test_0', 'test_1', 'val_0']
    for number, path in zip((0, 1, 0), pictures):
        truth_and_prediction = cv2.imread(str(path))[..., ::-1].astype(float)
        assert truth_and_prediction.shape == (80, 2 * 112, 3)
        drawn = truth_and_prediction[:, :112].reshape(-1, 3)
        file = tifffile.imread(bands / 'images/validation' / f'{number}.tif').reshape(-1, 12)
        shown = np.corrcoef(drawn.T, file.T)[:3, 3:]
        assert shown.argmax(axis=1).tolist() == [3, 2, 1]
        assert shown.max(axis=1).min() > 0.1


@pytest.mark.slow
def test_detections_are_drawn_too(grey_coco, tmp_path):
    cfg = mask_rcnn(grey_coco)
    cfg.default_hooks.visualization = dict(
        type='mae_plugin.BandVisualizationHook', channels=1, draw=True
    )
    # As mmdet's tools/test.py does with --show-dir; importable once ours was.
    from mmdet.engine.hooks.utils import trigger_visualization_hook

    args = SimpleNamespace(show=False, show_dir='shown', wait_time=0)
    cfg = trigger_visualization_hook(cfg, args)
    cfg.update(work_dir=str(tmp_path), launcher='none')
    Runner.from_cfg(cfg).test()
    pictures = sorted(tmp_path.glob('*/shown/*.png'))
    assert [path.name.split('.')[0] for path in pictures] == ['0', '1']
    # The truth stands on the left: outside its rectangles the picture is the file's.
    for number, path in enumerate(pictures):
        drawn = cv2.imread(str(path))
        assert drawn.shape == (128, 256, 3)
        file = cv2.imread(str(grey_coco / 'val2017' / f'{number}.png'), cv2.IMREAD_UNCHANGED)
        background = abs(file // 257 - 125.0) < 16
        # On the average: matplotlib before 3.11 draws fine noise by pieces of a pixel beside.
        assert abs(drawn[:, :128, 0][background].mean() - (file // 257)[background].mean()) <= 1


def test_bands_that_do_not_exist_are_told():
    with pytest.raises(
        ValueError, match=r'bands=\[12\]: give one or three channels between 0 and'
    ):
        BandVisualizationHook(channels=12, bands=[12])
