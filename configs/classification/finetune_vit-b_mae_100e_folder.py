r"""ViT-B/16 fine-tuned on your own class folders, from MAE, on one GPU.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-b_mae_100e_folder.py 1 --data-root DIR
       DIR/train and DIR/val hold one sub-folder for each class; their number follows.
Cost:  100 epochs of your images, 128 at a time.
Score: depends on your data; compare with scratch_vit-b_300e_in1k.py on the same folders.
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

# A set may be smaller than a batch.
train_dataloader = dict(drop_last=False)

# Whatever the number of classes, top-5 may not exist.
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(save_best='accuracy/top1', rule='greater')
)
