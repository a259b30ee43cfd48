"""Each host's own entry points take our configs: models, and inferencers with a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from dense_scenes import small_config, write_coco
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer, get_model
from mmseg.apis import MMSegInferencer, init_model

from mae_plugin.models import MAE

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
PRETRAINING = [
    'mae_vit-b_pretrain',
    'pretrain/mae-cross_vit-base-p16_8xb512-amp-coslr-800e_in1k',
    'pretrain/mae-pca_vit-base-p16_8xb512-amp-coslr-800e_in1k',
    'pretrain/mae_vit-b-p8_12band',
    'pretrain/scale_out/mae_vit-base-p16_8xb512-shards-amp-coslr-800e_in1k',
    'ablations/mask-sampling/mask-block-75',
    'ablations/mask-sampling/mask-grid-75',
    'playground/mae_classes',
    'playground/mae_demo',
    'playground/mae_playground',
]
CLASSIFICATION = [
    'classification/finetune_vit-b_mae_100e_in1k',
    'classification/finetune_vit-b_beit_100e_in1k',
    'classification/linear_vit-b_mae_90e_in1k',
    'playground/finetune_classes',
]
DETECTION = [
    'detection/cascade-mask-rcnn_vitdet-b_mae_lsj-100e_coco',
    'detection/dino-4scale_vitdet-b_mae_lsj-12e_coco',
    'detection/mask-rcnn_vit-b_mae-fpn_lsj-100e_coco',
    'detection/mask-rcnn_vitdet-b_mae_lsj-100e_coco',
    'playground/mask-rcnn_playground',
]
SEGMENTATION = [
    'segmentation/linear_vit-b_mae_40k_ade20k-512x512',
    'segmentation/upernet_vit-b_mae_160k_ade20k-512x512',
    'segmentation/upernet_vit-b_mae_160k_ade20k-512x512-ms',
    'playground/upernet_playground',
]
GREY = 'detection/mask-rcnn_vitdet-b_mae_grey_lsj-100e_coco'
BANDS = 'segmentation/upernet_vit-b_mae_12band_160k_folder-256x256'


def path(name):
    return str(CONFIGS / f'{name}.py')


def picture(height=96, width=128):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('name', PRETRAINING)
def test_mmpretrain_builds_our_mae_and_not_its_own(name):
    with torch.device('meta'):
        assert isinstance(get_model(path(name)), MAE)


@pytest.mark.parametrize('name', CLASSIFICATION)
def test_mmpretrain_builds_our_classifiers(name):
    with torch.device('meta'):
        model = get_model(path(name))
    assert type(model.backbone).__module__ == 'mae_plugin.models.vit'


@pytest.mark.parametrize('name', [*DETECTION, GREY])
def test_mmdet_builds_our_detectors(name):
    with torch.device('meta'):
        model = init_detector(path(name), device='meta')
    assert type(model.backbone).__module__.startswith('mae_plugin.models')


@pytest.mark.parametrize('name', [*SEGMENTATION, BANDS])
def test_mmseg_builds_our_segmentors(name):
    with torch.device('meta'):
        model = init_model(path(name), device='meta')
    assert type(model.backbone).__module__.startswith('mae_plugin.models')


@pytest.mark.slow
@pytest.mark.parametrize('name', DETECTION)
def test_mmdets_inferencer_takes_our_configs(name):
    with torch.device('meta'):
        inferencer = DetInferencer(path(name), device='meta', show_progress=False)
    assert inferencer.visualizer.dataset_meta['classes']


@pytest.mark.parametrize('name', SEGMENTATION)
def test_mmsegs_inferencer_takes_our_configs(name):
    with torch.device('meta'):
        inferencer = MMSegInferencer(path(name), device='meta')
    assert inferencer.visualizer.dataset_meta['classes']


@pytest.mark.parametrize('name', ['playground/mask-rcnn_playground', DETECTION[-2]])
def test_mmdets_inferencer_predicts(name):
    cfg = Config.fromfile(path(name))
    if 'playground' not in name:
        cfg = small_config(f'{name}.py', '', divide=8)
    inferencer = DetInferencer(cfg, device='cpu', show_progress=False)
    (found,) = inferencer(picture(), return_vis=True)['predictions']
    assert set(found) >= {'bboxes', 'labels', 'scores', 'masks'}


def test_mmsegs_inferencer_predicts():
    inferencer = MMSegInferencer(path('playground/upernet_playground'), device='cpu')
    assert inferencer(picture())['predictions'].shape == (96, 128)


def test_mmpretrains_inferencer_predicts():
    name = path('playground/finetune_classes')
    classes = [f'class {number}' for number in range(8)]
    inferencer = ImageClassificationInferencer(name, pretrained=False, classes=classes)
    (result,) = inferencer(picture())
    assert result['pred_class'] in classes


def test_grey_images_go_through_mmdets_function(tmp_path):
    """Its inferencer insists on ``LoadImageFromFile``, which cannot read what ours reads."""
    cfg = small_config(f'{GREY}.py', '', divide=8)
    image = write_coco(tmp_path / 'coco') / 'val2017/0.png'
    with pytest.raises(ValueError, match='LoadImageFromFile is not found'):
        DetInferencer(cfg, device='cpu')
    result = inference_detector(init_detector(cfg, device='cpu'), str(image))
    assert result.ori_shape == (96, 128)
