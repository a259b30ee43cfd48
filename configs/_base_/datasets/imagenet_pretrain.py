"""Images of ImageNet-1k, or of any folder given with ``--data-root``.

Training reads ``train``; `tools/test.py` tells the loss on ``val``, images cut at their centre,
each with a mask of its own that is the same for every checkpoint.
"""

data_root = 'data/imagenet/'

train_dataloader = dict(
    batch_size=512,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='mae_plugin.StreamSampler'),
    # mmengine looks collate functions up without the default scope.
    collate_fn=dict(type='mae_plugin.stack_collate'),
    dataset=dict(
        type='mae_plugin.ImageFolder',
        data_root=data_root,
        data_prefix='train',
        labels=False,
        pipeline=[
            # Size and channels are the model's.
            dict(type='mae_plugin.LoadRandomResizedCrop', scale=(0.2, 1.0), flip_prob=0.5),
            dict(type='mae_plugin.PackInputs'),
        ],
    ),
)

test_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='mae_plugin.stack_collate'),
    dataset=dict(
        type='mae_plugin.ImageFolder',
        data_root=data_root,
        data_prefix='val',
        labels=False,
        pipeline=[
            dict(type='mae_plugin.LoadResizeCenterCrop'),
            dict(type='mae_plugin.PackInputs'),
        ],
    ),
)
test_evaluator = dict(type='mae_plugin.ReconstructionLoss')
test_cfg = dict(type='TestLoop')
