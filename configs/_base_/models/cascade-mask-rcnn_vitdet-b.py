"""Cascade Mask R-CNN on ViT-B as in ViTDet: delta to mmdet's Cascade Mask R-CNN.

As the Mask R-CNN, with three box heads. Kept as mmdet has it: a mask head for each stage (one in
detectron2: 141 M parameters instead of 146 M).
"""

_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='mae_plugin.LayerNorm2d', eps=1e-6)

model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='base',
        img_size=224,
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
    rpn_head=dict(num_convs=2, loss_bbox=dict(_delete_=True, type='L1Loss')),
    roi_head=dict(
        # detectron2 adds the stages' losses up and scales their gradients into the features by
        # 1/3. For AdamW that is the same: the scale of a head's own gradients does not matter.
        stage_loss_weights=[1 / 3, 1 / 3, 1 / 3],
        bbox_head=[
            dict(
                type='Shared4Conv1FCBBoxHead',
                in_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=target_stds),
                reg_class_agnostic=True,
                norm_cfg=norm_cfg,
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False),
                loss_bbox=dict(type='L1Loss'),
            )
            for target_stds in (
                [0.1, 0.1, 0.2, 0.2],
                [0.05, 0.05, 0.1, 0.1],
                [0.033, 0.033, 0.067, 0.067],
            )
        ],
        mask_head=dict(norm_cfg=norm_cfg),
    ),
    train_cfg=dict(rpn=dict(allowed_border=-1), rpn_proposal=dict(max_per_img=1000)),
)
