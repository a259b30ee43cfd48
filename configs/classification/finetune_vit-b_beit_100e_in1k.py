r"""ViT-B/16 fine-tuned from BEiT: MAE's recipe, to compare with.

Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-b_beit_100e_in1k.py 8 \
           --data-root DIR --pretrained FILE
Cost:  as finetune_vit-b_mae_100e_in1k.py.
Score: 83.2 top-1 (MAE paper, table 3).
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

# BEiT has layer scale, and relative positions that a plain ViT cannot hold: they are left out, and
# the report says so.
model = dict(
    backbone=dict(
        layer_scale_init=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint='--pretrained FILE', drop_relative_position_bias=True
        ),
    )
)
