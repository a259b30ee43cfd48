r"""Pixio ViT-B/16, ImageNet-21k, 400 epochs: MAE with larger masks, deep decoder, 8 class tokens.

What differs from MAE: cells of 4x4 patches are masked, not single ones; the decoder has 32 blocks;
eight class tokens; positions are learned; images of 256 px, not flipped; a lower learning rate.

Paper: "In Pursuit of Pixel Supervision for Visual Pre-training" (Yang et al., CVPR 2026),
       https://arxiv.org/abs/2512.15715; numbers as in its script for ImageNet.
Data:  13.1 million images of ImageNet-21k, or any other folder; of the web with soft curation, as
       in mae_vit-b-p16_curated.py.
Run:   GPUS=64 tools/slurm_train.sh PARTITION NAME \
           configs/pretrain/pixio_vit-base-p16_64xb128-amp-coslr-400e_in21k.py \
           work_dirs/pixio_vit-base --data-root DIR
       On one machine, 2048 images a step at a fourth of the learning rate: tools/dist_train.sh \
           configs/pretrain/pixio_vit-base-p16_64xb128-amp-coslr-400e_in21k.py 8 \
           --data-root DIR --cfg-options train_dataloader.batch_size=256
       Small images, small data: `--cfg-options model.masking.cell_size=2
       model.backbone.num_cls_tokens=4`; configs/playground/pixio_classes.py.
Cost:  400 epochs x 1605 iterations of 8192 images; 35.0 billion multiply-adds an image (forward),
       the decoder's 29 once more in the backward pass.
Score: none is published of this recipe on ImageNet-21k. Drop path is published for H alone (0.4);
       here B and L have none.

Frozen features: patches for dense tasks; of pooled ones the mean of the class tokens
(`pool='cls-mean'`) or of the patches.
"""

_base_ = '../mae_vit-b_pretrain.py'

learned = dict(type='mae_plugin.LearnedPositions')

model = dict(
    # The arch says 8 class tokens, and learned positions.
    backbone=dict(arch='pixio-base', img_size=256),
    masking=dict(type='mae_plugin.CellMasking', cell_size=4),
    decoder=dict(depth=32, positions=learned, use_checkpoint=True),
)

data_root = 'data/imagenet21k/'
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(type='mae_plugin.LoadRandomResizedCrop', scale=(0.2, 1.0), flip_prob=0.0),
            dict(type='mae_plugin.PackInputs'),
        ],
    ),
)
test_dataloader = dict(dataset=dict(data_root=data_root))

optim_wrapper = dict(optimizer=dict(lr=2.5e-5 * 8192 / 256))
auto_scale_lr = dict(base_batch_size=8192)
train_cfg = dict(max_epochs=400)
