r"""ViT-B/16 fine-tuned from supervised weights (timm, DeiT): MAE's recipe, to compare with.

Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-b_supervised_100e_in1k.py 8 \
           --data-root DIR --pretrained FILE
Cost:  as finetune_vit-b_mae_100e_in1k.py.
Score: the weights have seen the labels already: a check of transfer, not of learning.
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

model = dict(backbone=dict(init_cfg=None))
