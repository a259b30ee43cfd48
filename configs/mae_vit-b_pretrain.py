"""MAE ViT-B/16, ImageNet-1k, 800 epochs, 224 px: the paper's pretraining recipe.

Paper: https://arxiv.org/abs/2111.06377 (table 8).
Run:   python tools/train.py configs/mae_vit-b_pretrain.py --data-root DIR
       tools/dist_train.sh configs/mae_vit-b_pretrain.py 8 --data-root DIR
       DIR is any folder of images (or ImageNet, whose `train` is then used).
Cost:  8 GPUs x 512 images; 800 epochs x 312 iterations. On less the batch shrinks to what fits,
       and the learning rate follows; `--accumulate recipe` makes steps of 4096 images there.
Score: ViT-B fine-tuned on ImageNet-1k 83.6 top-1, linear probe 68.0 (1600 epochs, table 3 and
       appendix); COCO 50.3 box AP, ADE20K 48.1 mIoU (tables 4 and 5).
"""

_base_ = [
    './_base_/models/mae_vit-b-p16.py',
    './_base_/datasets/imagenet_pretrain.py',
    './_base_/schedules/mae_adamw_cosine.py',
    './_base_/default_runtime.py',
]
