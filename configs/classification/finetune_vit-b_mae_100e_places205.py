r"""ViT-B/16 fine-tuned on Places205, from MAE.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-b_mae_100e_places205.py 8 --data-root DIR
       DIR holds the set's train_places205.csv and val_places205.csv beside the images.
Cost:  as finetune_vit-b_mae_100e_in1k.py, by the number of images (2.4 million).
Score: 63.9 top-1 (MAE paper, table 6).
       The paper adjusts learning rate and epochs to each set and does not print them.
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

data_root = 'data/places205/'

model = dict(data_preprocessor=dict(num_classes=205), head=dict(num_classes=205))

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix='data/vision/torralba/deeplearning/images256',
        ann_file='train_places205.csv',
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        data_prefix='data/vision/torralba/deeplearning/images256',
        ann_file='val_places205.csv',
    )
)
test_dataloader = val_dataloader
