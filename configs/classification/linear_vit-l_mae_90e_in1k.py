r"""Linear probe of a frozen MAE ViT-L/16 on ImageNet-1k.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/linear_vit-l_mae_90e_in1k.py 8 --data-root DIR
       Starts from the official MAE ViT-L; from another file, yours or foreign, with --pretrained.
Cost:  90 epochs of 78 iterations; 8 GPUs x 2048 images, or fewer: the learning rate follows.
Score: 75.8 top-1 (MAE paper, table 10 and appendix, 1600 epochs of pretraining).
"""

_base_ = './linear_vit-b_mae_90e_in1k.py'

model = dict(
    backbone=dict(
        arch='large',
        frozen_stages=24,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth'
        ),
    ),
    neck=dict(dims=1024),
    head=dict(in_channels=1024),
)
