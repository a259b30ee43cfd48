r"""Pixio ViT-H/16, ImageNet-21k, 400 epochs: MAE with larger masks, deep decoder, 8 class tokens.

As pixio_vit-base-p16_64xb128-amp-coslr-400e_in21k.py, with stochastic depth.

Paper: "In Pursuit of Pixel Supervision for Visual Pre-training" (Yang et al., CVPR 2026),
       https://arxiv.org/abs/2512.15715.
Run:   GPUS=64 tools/slurm_train.sh PARTITION NAME \
           configs/pretrain/pixio_vit-huge-p16_64xb128-amp-coslr-400e_in21k.py \
           work_dirs/pixio_vit-huge --data-root DIR
Cost:  400 epochs x 1605 iterations of 8192 images of 256 px; 74.6 billion multiply-adds an image
       (forward), most of them once more in the backward pass.
Score: none is published of this recipe on ImageNet-21k. Trained on 2 billion images of the web and
       frozen, the encoder has ADE20K linear 50.2 and DPT 53.6 mIoU, where MAE ViT-H/14 has 35.2
       and 37.6 (the paper).
"""

_base_ = './pixio_vit-base-p16_64xb128-amp-coslr-400e_in21k.py'

model = dict(backbone=dict(arch='pixio-huge', drop_path_rate=0.4, use_checkpoint=True))
