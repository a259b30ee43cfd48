r"""Partial fine-tuning of ViT-L/16: the last 12 blocks and the head (paper, Figure 9).

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/partial-12_vit-l_mae_50e_in1k.py 8 --data-root DIR
Cost:  less than finetune_vit-l_mae_50e_in1k.py: frozen blocks need no backward pass.
Score: 84.6 top-1 (MAE paper, Figure 9, 800 epochs of pretraining).
"""

_base_ = './finetune_vit-l_mae_50e_in1k.py'

model = dict(backbone=dict(frozen_stages=12))
