r"""Mask R-CNN, ViT-B, on grey images, from a MAE of `mae_vit-b-p16_grey-160x96.py`.

Colour images are read as grey, 16-bit ones scaled to 8 bits, as in pretraining; mean and std are
those of pretraining.

Run:   ACCUMULATE=8 python tools/train.py \
           configs/detection/mask-rcnn_vitdet-b_mae_grey_lsj-100e_coco.py \
           --pretrained work_dirs/mae_vit-b-p16_grey-160x96/epoch_800.pth
       Your own classes are a config on top, as everywhere in mmdet: `metainfo` and `ann_file` of
       the datasets, `num_classes` of the heads.
Cost:  184,375 steps of 64 images; 10.9 GB for 2 images, as in colour.
Score: depends on your data.
"""

_base_ = './mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'

model = dict(
    data_preprocessor=dict(mean=[116.0], std=[57.0], bgr_to_rgb=False),
    backbone=dict(
        in_channels=1,
        img_size=(160, 96),  # of pretraining
        init_cfg=dict(checkpoint='work_dirs/mae_vit-b-p16_grey-160x96/epoch_800.pth'),
    ),
)

load = dict(type='mae_plugin.LoadImage', channels=1)
train_pipeline = [load, *_base_.train_pipeline[1:]]
test_pipeline = [load, *_base_.test_pipeline[1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
