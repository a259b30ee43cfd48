r"""Linear segmentation head on the frozen ViT-B, ADE20K at 512 px, 40,000 steps.

What the features hold by themselves, as DINOv2 evaluates them (https://arxiv.org/abs/2304.07193):
the last block's tokens, normalised, BatchNorm, one 1x1 convolution.

Run:   tools/dist_train.sh \
           configs/segmentation/linear_vit-b_mae_40k_ade20k-512x512.py 8
       python tools/train.py \
           configs/segmentation/linear_vit-b_mae_40k_ade20k-512x512.py \
           --cfg-options train_dataloader.batch_size=16
Cost:  40,000 steps of 16 images; only the head is trained.
Score: none published for ViT-B; DINOv2's paper has 33.3 mIoU for MAE's ViT-H/14 (as we remember
       its table; not checked).
"""

_base_ = './upernet_vit-b_mae_160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='base',
        img_size=512,
        frozen_stages=12,
        final_norm=True,
        init_cfg=_base_.model.backbone.init_cfg,
    ),
    neck=dict(_delete_=True, type='mae_plugin.MapNorm', in_channels=[768]),
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=768,
        in_index=0,
        channels=768,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)

optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=1e-4), paramwise_cfg=dict(layer_decay_rate=None)
)
train_cfg = dict(max_iters=40000, val_interval=4000)
default_hooks = dict(checkpoint=dict(interval=4000))
