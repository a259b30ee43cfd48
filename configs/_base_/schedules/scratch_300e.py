"""Supervised training from scratch (paper, table 11): AdamW, weight decay 0.3, 300 epochs, EMA."""

optim_wrapper = dict(
    type='mae_plugin.BFloat16OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-4 * 4096 / 256, betas=(0.9, 0.95), weight_decay=0.3, fused=True
    ),
    constructor='mae_plugin.ViTOptimWrapperConstructor',
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=20,
        convert_to_iter_based=True,
    ),
]

# The averaged weights (0.9999 of themselves at each step) are what is validated and tested.
custom_hooks = [dict(type='EMAHook', momentum=1e-4)]

train_cfg = dict(type='mae_plugin.ResumableEpochLoop', max_epochs=300, val_interval=5)
val_cfg = dict()
test_cfg = dict()

# The learning rate above is for 4096 images; it follows the real global batch.
auto_scale_lr = dict(enable=True, base_batch_size=4096)
