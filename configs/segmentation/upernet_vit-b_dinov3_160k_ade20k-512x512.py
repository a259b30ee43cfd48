r"""UperNet on DINOv3 ViT-B/16, fine-tuned, ADE20K at 512 px.

Paper: https://arxiv.org/abs/2508.10104
Run:   tools/dist_train.sh \
           configs/segmentation/upernet_vit-b_dinov3_160k_ade20k-512x512.py 8
       Starts from timm's copy of the weights (DINOv3 License); the official or transformers'
       file with --pretrained FILE.
       Frozen: --cfg-options model.backbone.frozen_stages=12
Cost:  160,000 steps of 16 images, float16 (AMP is on).
Score: none published for UperNet.
"""

_base_ = './upernet_vit-b_mae_160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='dinov3-base',
        out_indices=(3, 5, 7, 11),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://timm/vit_base_patch16_dinov3.lvd1689m',
        ),
    ),
)
