r"""ViT-B trained from scratch on ImageNet-1k, supervised (paper, table 11).

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/scratch_vit-b_300e_in1k.py 8 --data-root DIR
Cost:  300 epochs of 312 iterations; 8 GPUs x 512 images, or fewer: the learning rate follows.
Score: 82.3 top-1 (MAE paper, table 3).
"""

_base_ = [
    '../_base_/models/vit-b_classifier.py',
    '../_base_/datasets/imagenet_finetune.py',
    '../_base_/schedules/scratch_300e.py',
    '../_base_/mmpretrain_runtime.py',
]

model = dict(backbone=dict(init_cfg=None))

train_dataloader = dict(batch_size=512)
