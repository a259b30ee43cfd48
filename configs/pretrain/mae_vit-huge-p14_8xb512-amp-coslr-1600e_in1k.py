r"""MAE ViT-H/14, ImageNet-1k, 1600 epochs.

Paper: https://arxiv.org/abs/2111.06377 (table 8).
Run:   tools/dist_train.sh configs/pretrain/mae_vit-huge-p14_8xb512-amp-coslr-1600e_in1k.py 8 \
           --data-root DIR
Cost:  1600 epochs x 312 iterations of 4096 images; 48.6 billion multiply-adds an image (forward).
       Activations are recomputed in the backward pass to save memory.
Score: 86.9 top-1 fine-tuned at 224 px, 87.8 at 448 px, 76.6 linear probe (paper, table 3 and
       appendix); 86.9 and 87.3 in mmpretrain's run of this recipe (configs/mae).
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(
    backbone=dict(arch='huge', patch_size=14, use_checkpoint=True),
)
train_cfg = dict(max_epochs=1600)
