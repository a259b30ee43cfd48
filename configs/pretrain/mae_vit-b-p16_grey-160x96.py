r"""MAE ViT-B/16 on grey images that are not square: 160 px high and 96 px wide.

Run:   python tools/train.py configs/pretrain/mae_vit-b-p16_grey-160x96.py --data-root DIR
       Colour images are read as grey, 16-bit ones scaled to 8 bits. Scans of which every level
       counts (X-ray, CT): `keep_depth=True` in both transforms, mean and std in 16-bit units.
Cost:  60 tokens an image, of which the encoder sees 15; 2.9 billion multiply-adds (forward).
Score: depends on your data; look at it with python tools/visualize.py CHECKPOINT image.png
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(
    data_preprocessor=dict(mean=[116.0], std=[57.0]),
    backbone=dict(in_channels=1, img_size=(160, 96)),  # height, width
)
train_dataloader = dict(batch_size=128)
