"""ViT-B/16 in mmpretrain's classifier: patch tokens averaged, then the official `fc_norm`."""

_encoder = 'https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth'

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='mae_plugin.ViT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        final_norm=False,
        train_pos_embed=True,
        init_cfg=dict(type='Pretrained', checkpoint=_encoder),
    ),
    neck=dict(type='mae_plugin.TokenPool', dims=768, pool='avg', norm='layer'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
