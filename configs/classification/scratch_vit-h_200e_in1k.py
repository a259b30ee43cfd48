r"""ViT-H trained from scratch on ImageNet-1k, supervised (paper, table 11).

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/scratch_vit-h_200e_in1k.py 8 --data-root DIR
Cost:  200 epochs of 312 iterations; 8 GPUs x 512 images, or fewer: the learning rate follows.
Score: 83.1 top-1 (MAE paper, table 3).
"""

_base_ = './scratch_vit-b_300e_in1k.py'

model = dict(
    backbone=dict(
        arch='huge',
        patch_size=14,
        drop_path_rate=0.2,
    ),
    neck=dict(dims=1280),
    head=dict(in_channels=1280),
)

train_cfg = dict(max_epochs=200)
