"""ViTDet's schedule: 64 images a step, 100 epochs, AdamW with layer decay, float16.

Where the GPUs do not hold 64 images, ``ACCUMULATE=n`` in the environment adds up the gradients of
n steps and lengthens everything that counts steps n times, so that the recipe stays the same.
"""

accumulate = int('{{$ACCUMULATE:1}}')

# 100 epochs x 118,000 images / 64 images a step
updates = 184375
decays = [163889, 177546]
warmup = 250

optim_wrapper = dict(
    type='mae_plugin.AmpOptimWrapper',
    loss_scale='dynamic',
    accumulative_counts=accumulate,
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='mae_plugin.ViTOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        # As in detectron2: everything decays (biases, relative positions, and the pyramid's and
        # heads' norms, which its rule does not take for norms) but the trunk's norms and its
        # absolute positions. H has no exception. For ours: custom_keys=None.
        custom_keys={
            '.': dict(decay_mult=1.0),
            '.norm1.': dict(decay_mult=0.0),
            '.norm2.': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup * accumulate),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[update * accumulate for update in decays],
        gamma=0.1,
    ),
]

train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=updates * accumulate, val_interval=10000 * accumulate
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

auto_scale_lr = dict(enable=False, base_batch_size=64)
