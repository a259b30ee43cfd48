"""Pretrain on the small labelled set (labels unused) and watch the features become useful.

Data:  python tools/make_class_folders.py          (7,800 pictures, a quarter of a minute)
Run:   python tools/train.py configs/playground/mae_classes.py
Cost:  about 15 minutes on 2 CPU cores.
Then:  finetune_classes.py and linear_classes.py start from its checkpoint.
"""

_base_ = './mae_demo.py'

data_root = 'data/classes/'

model = dict(head=dict(target=dict(norm_pix=True)))

train_dataloader = dict(
    sampler=dict(repeats=1), dataset=dict(data_root=data_root, data_prefix='train')
)

custom_hooks = [
    dict(type='ExactResumeHook'),
    dict(type='ReconstructionHook', interval=5),
    dict(
        type='MonitorHook',
        interval=5,
        train=data_root + 'train',
        val=data_root + 'val',
        report=True,
    ),
]
