r"""UperNet on 12-band images, from a MAE of `mae_vit-b-p8_12band.py`; for your own classes.

`images/{training,validation}/NAME.tif` (or `.npy`: set `img_suffix`) and
`annotations/{training,validation}/NAME.png` below the data root; a pixel of the map is the number
of its class, 255 for none. Bands, mean and std are those of pretraining.

Run:   python tools/train.py \
           configs/segmentation/upernet_vit-b_mae_12band_160k_folder-256x256.py \
           --data-root DIR --pretrained work_dirs/mae_vit-b-p8_12band/epoch_800.pth
       Your classes go into `classes` below, or into a config on top of this one, with
       `num_classes` of both heads.
Cost:  160,000 steps of 16 images of 1024 tokens, as on ADE20K; float16.
Score: depends on your data.
"""

_base_ = './upernet_vit-b_mae_160k_ade20k-512x512.py'

channels = 12
patch_size = 8
crop_size = (256, 256)
classes = ('other', 'water', 'forest', 'field', 'built')

model = dict(
    # mmseg's preprocessor knows one or three channels: the pipeline normalises.
    data_preprocessor=dict(mean=None, std=None, bgr_to_rgb=False, size=crop_size),
    backbone=dict(
        in_channels=channels,
        patch_size=patch_size,
        img_size=crop_size,
        rel_pos_img_size=crop_size,
        init_cfg=dict(checkpoint='work_dirs/mae_vit-b-p8_12band/epoch_800.pth'),
    ),
    decode_head=dict(num_classes=len(classes)),
    auxiliary_head=dict(num_classes=len(classes)),
    test_cfg=dict(crop_size=crop_size, stride=(171, 171)),
)

load = dict(type='mae_plugin.LoadImage', channels=channels, keep_depth=True)
# In the file's order of bands.
normalize = dict(type='Normalize', mean=[1500.0] * channels, std=[1200.0] * channels, to_rgb=False)
# No PhotoMetricDistortion: it knows BGR of 8 bits. No RandomResize: a pixel has a size on the
# ground. From above there is no upside.
train_pipeline = [
    load,
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    normalize,
    dict(type='PackSegInputs'),
]
test_pipeline = [load, dict(type='LoadAnnotations'), normalize, dict(type='PackSegInputs')]

folder = dict(
    type='BaseSegDataset',
    data_root='data/bands',
    metainfo=dict(classes=classes),
    img_suffix='.tif',
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **folder))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **folder))
test_dataloader = val_dataloader

# mmseg's own reads pictures with OpenCV.
default_hooks = dict(
    visualization=dict(
        _delete_=True, type='mae_plugin.BandVisualizationHook', channels=channels, bands=[3, 2, 1]
    )
)
