r"""ViT-B/16 fine-tuned end to end on ImageNet-1k, from MAE: the official recipe.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-b_mae_100e_in1k.py 8 --data-root DIR
       Starts from the official MAE ViT-B; from another file, yours or foreign, with --pretrained.
       Your own classes: DIR/train and DIR/val with one sub-folder each; their number follows.
Cost:  100 epochs of 1,251 iterations; 8 GPUs x 128 images.
Score: 83.6 top-1 (MAE paper, table 3, after 1600 epochs of pretraining).
"""

_base_ = [
    '../_base_/models/vit-b_classifier.py',
    '../_base_/datasets/imagenet_finetune.py',
    '../_base_/schedules/finetune_100e.py',
    '../_base_/mmpretrain_runtime.py',
]
