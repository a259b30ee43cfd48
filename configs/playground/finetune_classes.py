r"""Fine-tune the playground's small encoder on the labelled set, through mmpretrain.

Data:  python tools/make_class_folders.py
Run:   python tools/train.py configs/playground/finetune_classes.py \
           --pretrained work_dirs/mae_classes/epoch_40.pth
       From scratch: without --pretrained, and --cfg-options \
           optim_wrapper.paramwise_cfg.layer_decay_rate=1.0
       Partial (Figure 9): --cfg-options model.backbone.frozen_stages=4.5
Cost:  5 epochs of 6,000 pictures: about 2.5 minutes on one CPU core (OMP_NUM_THREADS=1).
"""

_base_ = [
    './_base_/classes_vit.py',
    '../classification/finetune_vit-b_mae_100e_folder.py',
]

img_size = _base_.crop_size
num_classes = 8
data_root = 'data/classes/'
batch_size = 64

model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(
        arch=dict(_delete_=True, **_base_.arch),
        img_size=img_size,
        patch_size=_base_.patch_size,
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    neck=dict(dims=_base_.arch.embed_dims),
    head=dict(num_classes=num_classes, in_channels=_base_.arch.embed_dims),
)

# Few pictures, short training: crops and flips, without the strong augmentation.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=img_size,
        crop_ratio_range=(0.4, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
# The set's pictures pass unchanged; those of your own folders may have any size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge',
        scale=img_size,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=img_size),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    drop_last=True,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

lr = 1e-3
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=0.75))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-3,
        by_epoch=True,
        begin=1,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=5, val_interval=5)
auto_scale_lr = dict(base_batch_size=batch_size)
