r"""MAE ViT-B/8 on 12-band images of 96 px, such as Sentinel-2 chips in `.tif` or `.npy` files.

Run:   python tools/train.py configs/pretrain/mae_vit-b-p8_12band.py --data-root DIR
       An array of (height, width, bands) becomes such a file by np.save(path, array) or by
       tifffile.imwrite(path, array, photometric='minisblack', planarconfig='contig').
       Mean and std below are for bands of reflectance times 10,000: put those of your data.
       16 bits stay as they are (`keep_depth`), also where you set fewer `channels`; pixels that
       GDAL's tag marks as without data get their band's mean.
Cost:  144 tokens an image, of which the encoder sees 36; 7.0 billion multiply-adds (forward).
Score: depends on your data; look at it with
       python tools/visualize.py CHECKPOINT image.tif --bands 3 2 1
"""

_base_ = '../mae_vit-b_pretrain.py'

channels = 12

model = dict(
    data_preprocessor=dict(mean=[1500.0] * channels, std=[1200.0] * channels),
    backbone=dict(in_channels=channels, img_size=96, patch_size=8),
)

train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        pipeline=[
            dict(type='mae_plugin.LoadRandomResizedCrop', keep_depth=True),
            dict(type='mae_plugin.PackInputs'),
        ]
    ),
)
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mae_plugin.LoadResizeCenterCrop', keep_depth=True),
            dict(type='mae_plugin.PackInputs'),
        ]
    )
)
custom_hooks = [
    dict(hook, bands=[3, 2, 1]) if hook['type'] == 'mae_plugin.ReconstructionHook' else dict(hook)
    for hook in _base_.custom_hooks
]
