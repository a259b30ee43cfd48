r"""Mask R-CNN on DINOv3 ViT-B/16: ViTDet's heads and schedule, fine-tuned.

The family's own features: no windows, which its prefix tokens and rotations leave no place for.

Paper: https://arxiv.org/abs/2508.10104
Run:   tools/dist_train.sh \
           configs/detection/mask-rcnn_vit-b_dinov3_lsj-100e_coco.py 8
       Starts from timm's copy of the weights (DINOv3 License); the official or transformers'
       file with --pretrained FILE.
       Frozen: --cfg-options model.backbone.frozen_stages=12
Cost:  184,375 steps of 64 images; attention over 4096 patches in 12 blocks, recomputed in the
       backward pass.
Score: none published for Mask R-CNN.
"""

_base_ = './mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='dinov3-base',
        final_norm=True,
        drop_path_rate=0.1,
        use_checkpoint=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://timm/vit_base_patch16_dinov3.lvd1689m',
        ),
    ),
)
# Layer scales and tokens are not drawn to zero.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            '.gamma_': dict(decay_mult=0.0),
            '.cls_token': dict(decay_mult=0.0),
            '.register_tokens': dict(decay_mult=0.0),
        }
    )
)
