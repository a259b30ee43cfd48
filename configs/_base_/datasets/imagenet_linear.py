"""ImageNet-1k with the light augmentation of linear probing: random crop and flip.

The crop is drawn once and clipped to the image, as in the official code, not up to ten times.
"""

_base_ = './imagenet_finetune.py'

train_dataloader = dict(
    batch_size=2048,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mae_plugin.RandomClippedCrop', scale=224, interpolation='bicubic'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]
    ),
)
