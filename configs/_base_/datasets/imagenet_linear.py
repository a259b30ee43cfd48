"""ImageNet-1k with the light augmentation of linear probing: random-resized crop and flip."""

_base_ = './imagenet_finetune.py'

train_dataloader = dict(
    batch_size=2048,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]
    ),
)
