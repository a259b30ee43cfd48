r"""ViT-B/16 fine-tuned from MoCo v3: MAE's recipe, to compare with.

Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-b_mocov3_100e_in1k.py 8 \
           --data-root DIR --pretrained FILE
Cost:  as finetune_vit-b_mae_100e_in1k.py.
Score: 83.2 top-1 (MAE paper, table 3).
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

model = dict(backbone=dict(init_cfg=None))
