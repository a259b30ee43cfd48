r"""ViT-H/14 fine-tuned end to end on ImageNet-1k, from MAE: the official recipe.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-h_mae_50e_in1k.py 8 --data-root DIR
       Starts from the official MAE ViT-H; from another file, yours or foreign, with --pretrained.
Cost:  50 epochs of 1,251 iterations; 8 GPUs x 128 images (drop path 0.3; the paper says 0.2).
Score: 86.9 top-1 (MAE paper, table 3, after 1600 epochs of pretraining).
"""

_base_ = './finetune_vit-l_mae_50e_in1k.py'

model = dict(
    backbone=dict(
        arch='huge',
        patch_size=14,
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_huge.pth'
        ),
    ),
    neck=dict(dims=1280),
    head=dict(in_channels=1280),
)
