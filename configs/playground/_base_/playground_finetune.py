"""Fine-tuning budget of the playground, one for detection and segmentation, any initialisation.

600 scenes / 8 a batch = 75 iterations an epoch. No layer decay: it would hold back a run from
scratch, and both kinds of run must have the same recipe.
"""

max_epochs = 5

optim_wrapper = dict(
    type='mae_plugin.OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='mae_plugin.ViTOptimWrapperConstructor',
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    # To the end of training, whatever its length.
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=1,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=25),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=max_epochs),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    schedule=dict(type='mae_plugin.ScheduleHook'),
    resume=dict(type='mae_plugin.ResumeHook'),
    batch=dict(type='mae_plugin.BatchHook'),
    progress=dict(type='mae_plugin.ProgressHook'),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
