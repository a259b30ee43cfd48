"""Mask R-CNN on ViT-B as in ViTDet (Li et al. 2022): delta to mmdet's Mask R-CNN.

Last map only, simple feature pyramid; 14x14 windows with global attention in four blocks, relative
positions; two-conv RPN, 4conv1fc box head, LayerNorm in the heads.
"""

_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='mae_plugin.LayerNorm2d', eps=1e-6)

model = dict(
    # Square inputs: crops are never larger.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='base',
        img_size=224,  # of pretraining; positions are resized in every forward
        with_cls_token=False,
        window_size=14,
        global_attn_indexes=(2, 5, 8, 11),
        rel_pos_img_size=1024,
        train_pos_embed=True,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth',
        ),
    ),
    neck=dict(_delete_=True, type='mae_plugin.SimpleFeaturePyramid', in_channels=768),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
