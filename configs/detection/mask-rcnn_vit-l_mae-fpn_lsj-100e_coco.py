r"""Mask R-CNN, ViT-L, MAE-pretrained, with the MAE paper's own FPN on COCO (its table 4).

Run:   ACCUMULATE=2 tools/dist_train.sh \
           configs/detection/mask-rcnn_vit-l_mae-fpn_lsj-100e_coco.py 8 \
           --cfg-options train_dataloader.batch_size=4
       ACCUMULATE=16 python tools/train.py \
           configs/detection/mask-rcnn_vit-l_mae-fpn_lsj-100e_coco.py \
           --cfg-options train_dataloader.batch_size=4
Cost:  184,375 steps of 64 images; about ViTDet's 20.9 GB for 2 images.
Score: box AP 53.3, mask AP 47.2 (MAE paper, table 4, 1600 epochs of pretraining).
"""

_base_ = './mask-rcnn_vit-b_mae-fpn_lsj-100e_coco.py'

norm_cfg = dict(type='SyncBN')

model = dict(
    backbone=dict(
        arch='large',
        out_indices=(5, 11, 17, 23),
        global_attn_indexes=(5, 11, 17, 23),
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth'
        ),
    ),
    neck=[
        dict(type='mae_plugin.BlockGroupPyramid', in_channels=1024, norm_cfg=norm_cfg),
        dict(
            type='FPN',
            in_channels=[1024, 1024, 1024, 1024],
            out_channels=256,
            num_outs=5,
            norm_cfg=norm_cfg,
        ),
    ],
)
