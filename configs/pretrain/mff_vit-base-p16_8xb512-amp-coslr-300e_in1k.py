r"""MFF ViT-B/16: a MAE whose decoder reads a fusion of shallow and deep blocks, 300 epochs.

The encoder's last block need not keep what only pixels want: five shallow blocks hand that over.
The encoder itself, and its part of the checkpoint, are MAE's.

Paper: "Improving Pixel-based MIM by Reducing Wasted Modeling Capability" (Liu et al., ICCV 2023),
       https://arxiv.org/abs/2308.00261.
Run:   tools/dist_train.sh configs/pretrain/mff_vit-base-p16_8xb512-amp-coslr-300e_in1k.py 8 \
           --data-root DIR
       800 epochs: `--cfg-options train_cfg.max_epochs=800`. Other blocks, numbered from 0, the
       last one included: `--cfg-options "model.decoder.in_layers=[0,5,11]"`.
Cost:  as mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py, and 0.15 billion multiply-adds an image.
Score: at 300 / 800 epochs 83.0 / 83.7 top-1 fine-tuned and 64.2 / 68.3 linear probe, where
       mmpretrain's MAE has 83.1 / 83.3 and 60.8 / 65.1 (mmpretrain, configs/mff). As there, images
       are whole but for a crop to a square; it also pads them by 4 pixels before the crop.
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(decoder=dict(in_layers=[0, 2, 4, 6, 8, 11]))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mae_plugin.LoadFixedCrop', flip_prob=0.5),
            dict(type='mae_plugin.PackInputs'),
        ],
    ),
)
train_cfg = dict(max_epochs=300)
