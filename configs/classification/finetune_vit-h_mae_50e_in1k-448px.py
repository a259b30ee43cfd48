r"""ViT-H/14 fine-tuned at 448 px on ImageNet-1k, from MAE pretrained at 224.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-h_mae_50e_in1k-448px.py 8 --data-root DIR
       Starts from the official MAE ViT-H; from another file, yours or foreign, with --pretrained.
       The position embeddings are resized from 16x16 to 32x32.
Cost:  50 epochs; 8 GPUs x 128 images, or fewer: the learning rate follows. Four times the tokens.
Score: 87.8 top-1 (MAE paper, table 3), the best of ImageNet-1k data alone at its time.
"""

_base_ = './finetune_vit-h_mae_50e_in1k.py'

img_size = 448

model = dict(backbone=dict(img_size=img_size, use_checkpoint=True))

_base_.train_pipeline[1].update(scale=img_size)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))

# Above 224 px the official code tests on the whole short side.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge', scale=img_size, edge='short', backend='pillow', interpolation='bicubic'
    ),
    dict(type='CenterCrop', crop_size=img_size),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
