r"""MAE ViT-Ti/16, ImageNet-1k, 400 epochs: for trying things out and for small devices.

Paper: https://arxiv.org/abs/2111.06377 (table 8; the paper itself has no size below B).
Run:   tools/dist_train.sh configs/pretrain/mae_vit-tiny-p16_8xb512-amp-coslr-400e_in1k.py 8 \
           --data-root DIR
Cost:  400 epochs x 312 iterations of 4096 images; 1.7 billion multiply-adds an image (forward).
       The decoder is half as wide as B's: at 512 it would cost far more than the encoder.
Score: none published for this recipe, and none measured here.
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(
    backbone=dict(arch='tiny'),
    decoder=dict(embed_dims=256, num_heads=8),
)
train_cfg = dict(max_epochs=400)
