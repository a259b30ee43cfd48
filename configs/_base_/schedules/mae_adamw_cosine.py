"""The paper's pretraining recipe (table 8): AdamW, 40 epochs of warm-up, cosine to zero.

A schedule of another length is a delta that sets ``train_cfg.max_epochs`` alone: the schedulers
end where training ends.
"""

warmup_epochs = 40

optim_wrapper = dict(
    type='mae_plugin.BFloat16OptimWrapper',
    optimizer=dict(
        type='AdamW',
        lr=1.5e-4 * 4096 / 256,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        fused=True,
    ),
    # As the official code: all but biases and norms decay, tokens included.
    constructor='mae_plugin.ViTOptimWrapperConstructor',
    paramwise_cfg=dict(decay_tokens=True),
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=warmup_epochs,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='mae_plugin.ResumableEpochLoop', max_epochs=800)

# The learning rate above is for 4096 images; it follows the real global batch.
auto_scale_lr = dict(enable=True, base_batch_size=4096)
