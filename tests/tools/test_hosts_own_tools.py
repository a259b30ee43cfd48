"""mmdet's and mmseg's own tools/train.py run our backbone from our checkpoint, as they are.

The same backbone config stands in both, with no ``custom_imports``, and the file that
``tools/train.py`` wrote goes in with no step between.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from host_tools import run_host_tool
from mmengine.config import Config

import mae_plugin
from mae_plugin.models import MAE

PLAYGROUND = Path(mae_plugin.__file__).parents[1] / 'configs/playground'
ARCH = dict(embed_dims=32, num_layers=4, num_heads=2)

CONFIG = """
_base_ = {base!r}
model = dict(
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch={arch},
        img_size=32,
        patch_size=8,
        out_indices={out_indices},
        init_cfg=dict(type='Pretrained', checkpoint={checkpoint!r}),
    ),
    {model}
)
train_cfg = dict(max_epochs=1, val_interval=1)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
load = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(data_root={data!r}), **load)
val_dataloader = dict(dataset=dict(data_root={data!r}), **load)
test_dataloader = val_dataloader
{evaluator}
"""
MASK_RCNN = dict(
    config='mask-rcnn_playground.py',
    out_indices=(-1,),
    model='neck=dict(in_channels=32),',
    evaluator="val_evaluator = dict(ann_file={data!r} + '/annotations/instances_val.json')\n"
    'test_evaluator = val_evaluator',
)
UPERNET = dict(
    config='upernet_playground.py',
    out_indices=(0, 1, 2, 3),
    model="""neck=[
        dict(type='mae_plugin.MapNorm', in_channels=[32] * 4, norm_cfg=dict(type='BN')),
        dict(type='mae_plugin.BlockGroupPyramid', in_channels=32, scales=(2, 1, 1, 0.5)),
    ],
    decode_head=dict(in_channels=[32] * 4, channels=16),
    auxiliary_head=dict(in_channels=32, channels=16),""",
    evaluator='',
)


def write_checkpoint(path: Path) -> None:
    """A run of this project: the state dict of a MAE."""
    shape = dict(img_size=32, patch_size=8)
    model = MAE(
        backbone=dict(type='ViT', arch=ARCH, **shape),
        decoder=dict(type='MAEDecoder', in_dims=32, embed_dims=16, depth=1, num_heads=2, **shape),
        head=dict(
            type='ReconstructionHead', in_dims=16, target=dict(type='PixelTarget', patch_size=8)
        ),
    )
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)


def write_data(root: Path) -> None:
    """Two scenes with one object each, as COCO and as semantic maps."""
    for split in ('train', 'val'):
        for folder in (f'images/{split}', f'semantic/{split}', 'annotations'):
            (root / folder).mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for number in range(2):
            image = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
            cv2.imwrite(str(root / f'images/{split}/{number}.jpg'), image)
            semantic = np.zeros((48, 64), np.uint8)
            semantic[10:40, 10:50] = 1
            cv2.imwrite(str(root / f'semantic/{split}/{number}.png'), semantic)
            images.append(dict(id=number, file_name=f'{number}.jpg', height=48, width=64))
            annotations.append(
                dict(
                    id=number + 1, image_id=number, category_id=1, iscrowd=0, area=1200,
                    bbox=[10, 10, 40, 30], segmentation=[[10, 10, 50, 10, 50, 40, 10, 40]],
                )
            )  # fmt: skip
        names = Config.fromfile(PLAYGROUND / '_base_/playground_classes.py').classes
        categories = [dict(id=number + 1, name=name) for number, name in enumerate(names)]
        content = dict(images=images, annotations=annotations, categories=categories)
        path = root / f'annotations/instances_{split}.json'
        path.write_text(json.dumps(content), encoding='utf-8')


@pytest.mark.slow
@pytest.mark.parametrize(
    'host, task, metric',
    [('mmdet', MASK_RCNN, 'bbox_mAP'), ('mmseg', UPERNET, 'mIoU')],
    ids=['mmdet', 'mmseg'],
)
def test_own_train_script(host, task, metric, tmp_path):
    write_data(tmp_path / 'data')
    write_checkpoint(tmp_path / 'mae.pth')
    config = tmp_path / 'config.py'
    data = str(tmp_path / 'data')
    config.write_text(
        CONFIG.format(
            base=str(PLAYGROUND / task['config']), arch=ARCH, out_indices=task['out_indices'],
            checkpoint=str(tmp_path / 'mae.pth'), model=task['model'], data=data,
            evaluator=task['evaluator'].format(data=data),
        ),
        encoding='utf-8',
    )  # fmt: skip
    log = run_host_tool(host, 'train', tmp_path, config, f'--work-dir={tmp_path / "run"}')
    assert metric in log
    assert 'MAE of this project' in log, 'the load report is missing'
