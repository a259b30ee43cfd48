r"""DINO (a DETR) on the plain ViT-B, MAE-pretrained, COCO boxes, 12 epochs.

mmdet's DINO-4scale with ViTDet's backbone and simple feature pyramid (strides 8 to 64) and
large-scale jitter at 1024 px, as detrex combines them (https://github.com/IDEA-Research/detrex).

Run:   tools/dist_train.sh \
           configs/detection/dino-4scale_vitdet-b_mae_lsj-12e_coco.py 8
       python tools/train.py \
           configs/detection/dino-4scale_vitdet-b_mae_lsj-12e_coco.py \
           --cfg-options optim_wrapper.accumulative_counts=8
Cost:  12 epochs of 16 images a step (8 GPUs x 2).
Score: box AP 50.2 (detrex's model zoo for this combination, as we remember it; not checked).
"""

_base_ = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'

model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='base',
        img_size=224,
        with_cls_token=False,
        window_size=14,
        global_attn_indexes=(2, 5, 8, 11),
        rel_pos_img_size=1024,
        train_pos_embed=True,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth',
        ),
    ),
    neck=dict(
        _delete_=True,
        type='mae_plugin.SimpleFeaturePyramid',
        in_channels=768,
        scales=(2, 1, 0.5),
        num_outs=4,
    ),
)

image_size = (1024, 1024)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomResize', scale=image_size, ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type='RandomCrop',
        crop_type='absolute_range',
        crop_size=image_size,
        allow_negative_crop=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(
    type='mae_plugin.OptimWrapper',
    constructor='mae_plugin.ViTOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.7),
)

default_hooks = dict(
    schedule=dict(type='mae_plugin.ScheduleHook'),
    resume=dict(type='mae_plugin.ResumeHook'),
    batch=dict(type='mae_plugin.BatchHook'),
    progress=dict(type='mae_plugin.ProgressHook'),
)
