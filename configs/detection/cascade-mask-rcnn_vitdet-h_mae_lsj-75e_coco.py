r"""Cascade Mask R-CNN, ViT-H, MAE-pretrained: ViTDet's recipe on COCO.

Paper: https://arxiv.org/abs/2203.16527
Run:   ACCUMULATE=4 tools/dist_train.sh \
           configs/detection/cascade-mask-rcnn_vitdet-h_mae_lsj-75e_coco.py 8 \
           --cfg-options train_dataloader.batch_size=2
       ACCUMULATE=32 python tools/train.py \
           configs/detection/cascade-mask-rcnn_vitdet-h_mae_lsj-75e_coco.py \
           --cfg-options train_dataloader.batch_size=2
       The official ViT-H has patches of 14 pixels: they are resized to 16 at loading.
Cost:  138,281 steps of 64 images; somewhat more memory than Mask R-CNN's 31.5 GB for 2 images.
       With less memory: model.backbone.use_checkpoint=True.
Score: box AP 58.7, mask AP 51.0 (published by detectron2's ViTDet).
"""

_base_ = './cascade-mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'

model = dict(
    backbone=dict(
        arch='huge',
        global_attn_indexes=(7, 15, 23, 31),
        drop_path_rate=0.5,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_huge.pth'
        ),
    ),
    neck=dict(in_channels=1280),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        layer_decay_rate=0.9,
        # detectron2's H has no exception from weight decay: norms and positions decay too.
        custom_keys={'_delete_': True, '.': dict(decay_mult=1.0)},
    )
)

# 100 epochs -> 75, with everything that counts updates; 187.5 of warm-up.
updates = _base_.updates * 3 // 4
warmup = round(_base_.warmup * 3 / 4)
train_cfg = dict(max_iters=updates * _base_.accumulate)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.001,
        by_epoch=False,
        begin=0,
        end=warmup * _base_.accumulate,
    ),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[update * 3 // 4 * _base_.accumulate for update in _base_.decays],
        gamma=0.1,
    ),
]
