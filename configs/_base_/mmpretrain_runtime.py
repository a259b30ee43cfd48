"""Runtime of classification runs through mmpretrain."""

default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mae_plugin.CheckpointHook', interval=5, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    schedule=dict(type='mae_plugin.ScheduleHook'),
    resume=dict(type='mae_plugin.ResumeHook'),
    batch=dict(type='mae_plugin.BatchHook'),
    progress=dict(type='mae_plugin.ProgressHook'),
    exact_resume=dict(type='mae_plugin.ExactResumeHook'),
    non_finite=dict(type='mae_plugin.NonFiniteGuard'),
    preemption=dict(type='mae_plugin.PreemptionHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
