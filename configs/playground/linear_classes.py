r"""Linear probe of the playground's small encoder: the protocol of linear_vit-b_mae_90e_in1k.py.

Data:  python tools/make_class_folders.py
Run:   python tools/train.py configs/playground/linear_classes.py \
           --pretrained work_dirs/mae_classes/epoch_40.pth
       Of random features: without --pretrained.
Cost:  6 epochs of 6,000 pictures: about 1.5 minutes on one CPU core (OMP_NUM_THREADS=1).
"""

_base_ = './finetune_classes.py'

model = dict(
    backbone=dict(frozen_stages=_base_.arch.num_layers, final_norm=True),
    neck=dict(pool='avg', norm='batch'),
    head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss'), init_cfg=dict(std=0.01)),
    train_cfg=None,
)

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='mae_plugin.LARS',
        lr=0.1 * 64 / 256 * 100,
        momentum=0.9,
        weight_decay=0.0,
    ),
    paramwise_cfg=None,
)

train_cfg = dict(max_epochs=6, val_interval=6)
