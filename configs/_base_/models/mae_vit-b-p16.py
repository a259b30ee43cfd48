"""MAE ViT-B/16 at 224 px: decoder of 8 blocks and width 512, per-patch normalised pixels.

Image size, patch size, channels and width are said of the backbone alone: decoder, head, target,
preprocessor and loading transforms follow it.
"""

model = dict(
    type='mae_plugin.MAE',
    # ImageNet's mean and deviation; for other images give mean and std.
    data_preprocessor=dict(type='mae_plugin.MAEDataPreprocessor'),
    masking=dict(type='mae_plugin.RandomMasking', mask_ratio=0.75),
    backbone=dict(type='mae_plugin.ViT', arch='base', img_size=224, patch_size=16, in_channels=3),
    decoder=dict(type='mae_plugin.MAEDecoder', embed_dims=512, depth=8, num_heads=16),
    head=dict(
        type='mae_plugin.ReconstructionHead',
        target=dict(type='mae_plugin.PixelTarget', norm_pix=True),
    ),
)
