r"""ViT-L/16 fine-tuned end to end on ImageNet-1k, from MAE: the official recipe.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-l_mae_50e_in1k.py 8 --data-root DIR
       Starts from the official MAE ViT-L; from another file, yours or foreign, with --pretrained.
Cost:  50 epochs of 1,251 iterations; 8 GPUs x 128 images (drop path 0.2; the paper says 0.1).
Score: 85.9 top-1 (MAE paper, table 3, after 1600 epochs of pretraining).
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth'
        ),
    ),
    neck=dict(dims=1024),
    head=dict(in_channels=1024),
)

# Base lr 1e-3 x batch 1024 / 256, for L and H.
lr = 1e-3 * 1024 / 256
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=0.75))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-6 / lr,
        by_epoch=True,
        begin=5,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=50)
