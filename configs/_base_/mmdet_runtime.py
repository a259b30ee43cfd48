"""Runtime of detection runs that count iterations."""

default_scope = 'mmdet'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mae_plugin.CheckpointHook', by_epoch=False, interval=10000, max_keep_ckpts=2
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    schedule=dict(type='mae_plugin.ScheduleHook'),
    resume=dict(type='mae_plugin.ResumeHook'),
    batch=dict(type='mae_plugin.BatchHook'),
    progress=dict(type='mae_plugin.ProgressHook'),
    exact_resume=dict(type='mae_plugin.ExactResumeHook'),
    non_finite=dict(type='mae_plugin.NonFiniteGuard'),
    preemption=dict(type='mae_plugin.PreemptionHook'),
    visualization=dict(type='DetVisualizationHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)

# A resumed run goes on in the same order of images.
randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
