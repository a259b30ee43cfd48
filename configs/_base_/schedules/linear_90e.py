"""Linear probing (paper, table 10): LARS, base lr 0.1, no weight decay, 90 epochs."""

optim_wrapper = dict(
    type='mae_plugin.BFloat16OptimWrapper',
    optimizer=dict(type='mae_plugin.LARS', lr=0.1 * 16384 / 256, momentum=0.9, weight_decay=0.0),
    # Hands the head alone to the optimizer: the trunk is frozen.
    constructor='mae_plugin.ViTOptimWrapperConstructor',
)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=10, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=10,
        convert_to_iter_based=True,
    ),
]

# Ten workers on batches of 2048 take a minute or two until the first is there.
train_cfg = dict(
    type='mae_plugin.ResumableEpochLoop', max_epochs=90, val_interval=5, worker_timeout=600
)
val_cfg = dict()
test_cfg = dict()

# The learning rate above is for 16384 images; it follows the real global batch.
auto_scale_lr = dict(enable=True, base_batch_size=16384)
