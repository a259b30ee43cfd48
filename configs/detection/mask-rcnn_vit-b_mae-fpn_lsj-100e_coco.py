r"""Mask R-CNN, ViT-B, MAE-pretrained, with the MAE paper's own FPN on COCO (its table 4).

Four equal groups of blocks give the maps, scaled to strides 4 to 32, of an ordinary FPN (appendix
A.3, after Li et al. 2021, https://arxiv.org/abs/2111.11429, whose schedule is a cosine without
layer decay). Learning rate, weight decay and drop path are those that we remember from that paper;
they have not been checked against it.

Run:   tools/dist_train.sh \
           configs/detection/mask-rcnn_vit-b_mae-fpn_lsj-100e_coco.py 8
       ACCUMULATE=8 python tools/train.py \
           configs/detection/mask-rcnn_vit-b_mae-fpn_lsj-100e_coco.py
Cost:  184,375 steps of 64 images; about ViTDet's 10.9 GB for 2 images.
Score: box AP 50.3, mask AP 44.9 (MAE paper, table 4, 1600 epochs of pretraining).
"""

_base_ = './mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'

norm_cfg = dict(type='SyncBN')

model = dict(
    backbone=dict(out_indices=(2, 5, 8, 11)),
    neck=[
        dict(type='mae_plugin.BlockGroupPyramid', in_channels=768, norm_cfg=norm_cfg),
        dict(
            type='FPN',
            in_channels=[768, 768, 768, 768],
            out_channels=256,
            num_outs=5,
            norm_cfg=norm_cfg,
        ),
    ],
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)

optim_wrapper = dict(
    optimizer=dict(lr=8e-5), paramwise_cfg=dict(layer_decay_rate=None, custom_keys=None)
)
# A quarter of an epoch of warm-up: 0.25 x 118,000 / 64 steps.
warmup = 461 * _base_.accumulate
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup),
]
