"""UperNet on the playground's encoder, at a size that two cores train.

Data:  python tools/make_playground.py
Run:   python tools/train.py configs/playground/upernet_playground.py \\
           --pretrained work_dirs/mae_playground/epoch_24.pth
       Without --pretrained it trains from scratch; other seeds: --cfg-options randomness.seed=1
Cost:  about 3 minutes on one CPU core.
Score: mIoU 17.7 to 19.6; from scratch 13.4 to 16.9.
"""

_base_ = [
    './_base_/playground_vit.py',
    './_base_/playground_ade.py',
    './_base_/playground_finetune.py',
]

num_classes = len(_base_.metainfo.classes)
channels = 64
embed_dims = _base_.arch.embed_dims
# Three quarters of the pixels are background: unweighted, the mean over pixels hardly sees the
# objects in a budget this short.
loss = dict(
    type='CrossEntropyLoss', use_sigmoid=False, class_weight=[0.2] + [1.0] * (num_classes - 1)
)
# BatchNorm has too little to count in four small pictures pooled to a pixel.
norm_cfg = dict(type='GN', num_groups=8)
batch_size = 4

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=_base_.patch_size,
        test_cfg=dict(size_divisor=_base_.patch_size),
    ),
    backbone=dict(
        type='mae_plugin.ViTBackbone',
        arch=_base_.arch,
        img_size=_base_.crop_size,
        patch_size=_base_.patch_size,
        out_indices=(2, 3, 4, 5),
    ),
    # Blocks come without a final norm and differ much in scale. Strides 4, 8, 8 and 16 from
    # patches of 8 pixels.
    neck=[
        dict(type='mae_plugin.MapNorm', in_channels=[embed_dims] * 4, norm_cfg=dict(type='BN')),
        dict(type='mae_plugin.BlockGroupPyramid', in_channels=embed_dims, scales=(2, 1, 1, 0.5)),
    ],
    decode_head=dict(
        type='UPerHead',
        in_channels=[embed_dims] * 4,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3),
        channels=channels,
        dropout_ratio=0.0,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(loss, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=embed_dims,
        in_index=2,
        channels=channels,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(loss, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)

train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
max_epochs = 4  # 600 scenes / 4 a batch = 150 iterations an epoch
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(checkpoint=dict(interval=max_epochs))
