r"""Linear segmentation head on the frozen DINOv3 ViT-B/16, ADE20K at 512 px.

Paper: https://arxiv.org/abs/2508.10104
Run:   tools/dist_train.sh \
           configs/segmentation/linear_vit-b_dinov3_40k_ade20k-512x512.py 8
       Starts from timm's copy of the weights (DINOv3 License); the official or transformers'
       file with --pretrained FILE.
Cost:  40,000 steps of 16 images; only the head is trained.
Score: not measured here.
"""

_base_ = './linear_vit-b_mae_40k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='dinov3-base',
        frozen_stages=12,
        final_norm=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://timm/vit_base_patch16_dinov3.lvd1689m',
        ),
    ),
)
