"""MAE ViT-B/16 at 224 px: decoder of 8 blocks and width 512, per-patch normalised pixels."""

img_size = 224
patch_size = 16

model = dict(
    type='mae_plugin.MAE',
    data_preprocessor=dict(
        type='mae_plugin.MAEDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    masking=dict(type='mae_plugin.RandomMasking', mask_ratio=0.75),
    backbone=dict(type='mae_plugin.ViT', arch='base', img_size=img_size, patch_size=patch_size),
    decoder=dict(
        type='mae_plugin.MAEDecoder',
        in_dims=768,
        embed_dims=512,
        depth=8,
        num_heads=16,
        img_size=img_size,
        patch_size=patch_size,
    ),
    head=dict(
        type='mae_plugin.ReconstructionHead',
        in_dims=512,
        target=dict(type='mae_plugin.PixelTarget', patch_size=patch_size, norm_pix=True),
    ),
)
