r"""Linear probe of a frozen MAE ViT-H/14 on ImageNet-1k.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/linear_vit-h_mae_90e_in1k.py 8 --data-root DIR
       Starts from the official MAE ViT-H; from another file, yours or foreign, with --pretrained.
Cost:  90 epochs of 78 iterations; 8 GPUs x 2048 images, or fewer: the learning rate follows.
Score: 76.6 top-1 (MAE paper, table 10 and appendix, 1600 epochs of pretraining).
"""

_base_ = './linear_vit-b_mae_90e_in1k.py'

model = dict(
    backbone=dict(
        arch='huge',
        frozen_stages=32,
        patch_size=14,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_huge.pth'
        ),
    ),
    neck=dict(dims=1280),
    head=dict(in_channels=1280),
)
