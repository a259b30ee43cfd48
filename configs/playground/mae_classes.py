"""Pretrain on the small labelled set (labels unused) and watch the features become useful.

Data:  python tools/make_class_folders.py          (7,800 pictures, a quarter of a minute)
Run:   python tools/train.py configs/playground/mae_classes.py
Cost:  40 epochs of 6,000 pictures: about 11 minutes on one CPU core (OMP_NUM_THREADS=1).
Then:  finetune_classes.py and linear_classes.py start from its checkpoint, and
       python tools/probe.py work_dirs/mae_classes/epoch_40.pth --data-root data/classes scores it.
"""

_base_ = [
    './_base_/classes_vit.py',
    '../_base_/datasets/imagenet_pretrain.py',
    '../_base_/schedules/mae_adamw_cosine.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/classes/'
# Many cheap updates beat few expensive ones: 187 in an epoch.
batch_size = 32

model = dict(
    type='mae_plugin.MAE',
    data_preprocessor=dict(type='mae_plugin.MAEDataPreprocessor'),
    masking=dict(type='mae_plugin.RandomMasking', mask_ratio=0.75),
    backbone=dict(
        type='mae_plugin.ViT',
        arch=_base_.arch,
        img_size=_base_.crop_size,
        patch_size=_base_.patch_size,
    ),
    decoder=dict(
        type='mae_plugin.MAEDecoder',
        embed_dims=64,
        depth=2,
        num_heads=4,
    ),
    head=dict(
        type='mae_plugin.ReconstructionHead',
        target=dict(type='mae_plugin.PixelTarget', norm_pix=True),
    ),
)

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    pin_memory=False,
    dataset=dict(data_root=data_root),
)
test_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))

# Tiny models want a larger step than the paper's 1.5e-4 for 256 images.
optim_wrapper = dict(optimizer=dict(lr=1.6e-2 * batch_size / 256))
auto_scale_lr = dict(base_batch_size=batch_size)

warmup_epochs = 2
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = param_scheduler[1]['begin'] = warmup_epochs
train_cfg = dict(max_epochs=40)

default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=5, max_keep_ckpts=2))

custom_hooks = [
    dict(type='mae_plugin.ExactResumeHook'),
    dict(type='mae_plugin.NonFiniteGuard'),
    dict(type='mae_plugin.PreemptionHook'),
    dict(type='mae_plugin.BadImagesHook'),
    dict(type='mae_plugin.ReconstructionHook', interval=5),
    dict(
        type='mae_plugin.MonitorHook',
        interval=5,
        train=data_root + 'train',
        val=data_root + 'val',
    ),
]
