r"""Linear probe of a frozen MAE ViT-B/16 on ImageNet-1k.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/linear_vit-b_mae_90e_in1k.py 8 --data-root DIR
       Starts from the official MAE ViT-B; from another file, yours or foreign, with --pretrained.
Cost:  90 epochs of 78 iterations; 8 GPUs x 2048 images, or fewer: the learning rate follows.
Score: 68.0 top-1 (MAE paper, table 10 and appendix, 1600 epochs of pretraining).
"""

_base_ = [
    '../_base_/models/vit-b_classifier.py',
    '../_base_/datasets/imagenet_linear.py',
    '../_base_/schedules/linear_90e.py',
    '../_base_/mmpretrain_runtime.py',
]

model = dict(
    backbone=dict(frozen_stages=12, final_norm=True, drop_path_rate=0.0),
    # BatchNorm without affine parameters, eps 1e-6, before the classifier.
    neck=dict(pool='cls', norm='batch'),
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
        init_cfg=dict(std=0.01),
    ),
    train_cfg=None,
)
