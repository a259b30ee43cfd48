r"""ViT-B/16 fine-tuned on Places365 (standard, class folders), from MAE.

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/classification/finetune_vit-b_mae_100e_places365.py 8 --data-root DIR
       DIR is the set's "easy directory structure": train/ and val/ with 365 folders.
Cost:  as finetune_vit-b_mae_100e_in1k.py, by the number of images (1.8 million).
Score: 57.9 top-1 (MAE paper, table 6).
       The paper adjusts learning rate and epochs to each set and does not print them.
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

data_root = 'data/places365_standard/'

model = dict(data_preprocessor=dict(num_classes=365), head=dict(num_classes=365))

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
