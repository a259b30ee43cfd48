r"""Pixio ViT-L/16, ImageNet-21k, 400 epochs: MAE with larger masks, deep decoder, 8 class tokens.

As pixio_vit-base-p16_64xb128-amp-coslr-400e_in21k.py.

Paper: "In Pursuit of Pixel Supervision for Visual Pre-training" (Yang et al., CVPR 2026),
       https://arxiv.org/abs/2512.15715.
Run:   GPUS=64 tools/slurm_train.sh PARTITION NAME \
           configs/pretrain/pixio_vit-large-p16_64xb128-amp-coslr-400e_in21k.py \
           work_dirs/pixio_vit-large --data-root DIR
Cost:  400 epochs x 1605 iterations of 8192 images of 256 px; 50.8 billion multiply-adds an image
       (forward), the decoder's 29 once more in the backward pass.
Score: none is published of this recipe on ImageNet-21k.
"""

_base_ = './pixio_vit-base-p16_64xb128-amp-coslr-400e_in21k.py'

model = dict(backbone=dict(arch='pixio-large'))
