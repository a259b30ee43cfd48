r"""ViT-B/16 fine-tuned on iNaturalist 2018 (8,142 species), from MAE.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-b_mae_100e_inat18.py 8 --data-root DIR
       First: python tools/convert_inaturalist.py DIR/train2018.json DIR/val2018.json
Cost:  as finetune_vit-b_mae_100e_in1k.py, by the number of images.
Score: 75.4 top-1 (MAE paper, table 6).
       The paper adjusts learning rate and epochs to each set and does not print them.
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

data_root = 'data/inat2018/'

model = dict(data_preprocessor=dict(num_classes=8142), head=dict(num_classes=8142))

train_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix='', ann_file='train2018.txt')
)
val_dataloader = dict(dataset=dict(data_root=data_root, data_prefix='', ann_file='val2018.txt'))
test_dataloader = val_dataloader
