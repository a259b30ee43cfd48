r"""Linear segmentation head on the frozen Pixio ViT-B/16, ADE20K at 512 px.

Paper: https://arxiv.org/abs/2512.15715
Run:   tools/dist_train.sh \
           configs/segmentation/linear_vit-b_pixio_40k_ade20k-512x512.py 8
       Starts from --pretrained FILE: a run of configs/pretrain/pixio_*.py, or Pixio's own file.
Cost:  40,000 steps of 16 images; only the head is trained.
Score: none published for B; 50.2 for H (Pixio's README).
"""

_base_ = './linear_vit-b_mae_40k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='pixio-base',
        frozen_stages=12,
        final_norm=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='pixio-base',
        ),
    ),
)
