r"""UperNet, ViT-L, MAE-pretrained, ADE20K at 512 px, 160,000 steps (MAE paper, table 5).

Layer decay and drop path are ours (those of MAE's fine-tuning of L); the paper does not give them.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/segmentation/upernet_vit-l_mae_160k_ade20k-512x512.py 8
       python tools/train.py \
           configs/segmentation/upernet_vit-l_mae_160k_ade20k-512x512.py \
           --cfg-options train_dataloader.batch_size=16
Cost:  160,000 steps of 16 images, float16; with less memory: model.backbone.use_checkpoint=True.
Score: mIoU 53.6 (MAE paper, table 5).
"""

_base_ = './upernet_vit-b_mae_160k_ade20k-512x512.py'

embed_dims = 1024

model = dict(
    backbone=dict(
        arch='large',
        out_indices=(7, 11, 15, 23),
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth'
        ),
    ),
    neck=dict(embed_dim=embed_dims),
    decode_head=dict(in_channels=[embed_dims] * 4, channels=embed_dims),
    auxiliary_head=dict(in_channels=embed_dims),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
