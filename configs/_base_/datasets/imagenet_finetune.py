"""ImageNet-1k, or any folder of class folders, with the augmentation of fine-tuning.

`train` and `val` below the root, each with one sub-folder for each class. Random-resized crop,
RandAugment (9, 0.5), random erasing 0.25; mixup and cutmix are the model's.
"""

data_root = 'data/imagenet/'
img_size = 224
# What OpenCV, which loads the pictures here, reads everywhere.
extensions = [
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp'),
    *('.bmp', '.tif', '.tiff', '.ppm', '.pgm'),
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=img_size, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=img_size),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    # As the official code: an epoch of ImageNet has 1251 iterations of 1024.
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mae_plugin.ImageFolder',
        data_root=data_root,
        data_prefix='train',
        labels=True,
        extensions=extensions,
        classes='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=5,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mae_plugin.ImageFolder',
        data_root=data_root,
        data_prefix='val',
        labels=True,
        extensions=extensions,
        classes='train',  # every split has the labels of training, whatever it lacks
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
