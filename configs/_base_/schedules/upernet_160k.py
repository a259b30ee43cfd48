"""160,000 steps of 16 images: AdamW with layer decay, warm-up, linear decrease, float16.

A schedule of another length is a delta that sets `train_cfg.max_iters` alone.
"""

optim_wrapper = dict(
    type='mae_plugin.AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='mae_plugin.ViTOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.65),
)

warmup = 1500
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=warmup),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=warmup),
]

train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
