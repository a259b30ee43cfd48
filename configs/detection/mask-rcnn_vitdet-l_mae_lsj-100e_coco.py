r"""Mask R-CNN, ViT-L, MAE-pretrained: ViTDet's recipe on COCO.

Paper: https://arxiv.org/abs/2203.16527
Run:   ACCUMULATE=2 tools/dist_train.sh \
           configs/detection/mask-rcnn_vitdet-l_mae_lsj-100e_coco.py 8 \
           --cfg-options train_dataloader.batch_size=4
       ACCUMULATE=16 python tools/train.py \
           configs/detection/mask-rcnn_vitdet-l_mae_lsj-100e_coco.py \
           --cfg-options train_dataloader.batch_size=4
Cost:  184,375 steps of 64 images; 20.9 GB for 2 images on one A100 (published).
       With less memory: model.backbone.use_checkpoint=True.
Score: box AP 55.5, mask AP 49.2 (published by detectron2's ViTDet).
"""

_base_ = './mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'

model = dict(
    backbone=dict(
        arch='large',
        global_attn_indexes=(5, 11, 17, 23),
        drop_path_rate=0.4,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth'
        ),
    ),
    neck=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
