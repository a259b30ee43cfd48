r"""MAE ViT-L/16, ImageNet-1k, 800 epochs.

Paper: https://arxiv.org/abs/2111.06377 (table 8).
Run:   tools/dist_train.sh configs/pretrain/mae_vit-large-p16_8xb512-amp-coslr-800e_in1k.py 8 \
           --data-root DIR
Cost:  800 epochs x 312 iterations of 4096 images; 20.8 billion multiply-adds an image (forward).
       Where 512 images do not fit a GPU: `--cfg-options model.backbone.use_checkpoint=True`.
Score: 85.4 top-1 fine-tuned, 73.7 linear probe (mmpretrain's run of this recipe, configs/mae).
       The paper has 85.4 and 73.9 (table 1d).
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(backbone=dict(arch='large'))
