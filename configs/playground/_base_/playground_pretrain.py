"""Unlabelled scenes of the playground: `python tools/make_playground.py`."""

data_root = 'data/playground/'
batch_size = 32

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='mae_plugin.StreamSampler'),
    # mmengine looks collate functions up without the default scope.
    collate_fn=dict(type='mae_plugin.stack_collate'),
    dataset=dict(
        type='mae_plugin.ImageFolder',
        data_root=data_root,
        data_prefix='pretrain',
        labels=False,
        pipeline=[
            # Scenes are 128x96: smaller crops than this would be blurred by the resize to 96.
            dict(type='mae_plugin.LoadRandomResizedCrop', scale=(0.4, 1.0), flip_prob=0.5),
            dict(type='mae_plugin.PackInputs'),
        ],
    ),
)
