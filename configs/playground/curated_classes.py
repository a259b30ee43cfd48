r"""Pretrain on the pictures of the small labelled set that a first MAE finds hard.

Data:  python tools/make_class_folders.py
Run:   python tools/train.py configs/playground/mae_classes.py           (the first MAE, once)
       python tools/score_images.py work_dirs/mae_classes/epoch_40.pth data/classes/train
       python tools/train.py configs/playground/curated_classes.py
Cost:  as mae_classes.py for each picture; an epoch has as many as the losses add up to.
"""

_base_ = './mae_classes.py'

train_dataloader = dict(sampler=dict(type='mae_plugin.CuratedSampler', scores='losses.npz'))
