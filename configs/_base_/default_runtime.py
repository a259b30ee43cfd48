"""Runtime of every pretraining run: hooks, logging, checkpoints, reproducibility."""

default_scope = 'mae_plugin'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mae_plugin.CheckpointHook', interval=20, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    schedule=dict(type='mae_plugin.ScheduleHook'),
    resume=dict(type='mae_plugin.ResumeHook'),
    batch=dict(type='mae_plugin.BatchHook'),
    progress=dict(type='mae_plugin.ProgressHook'),
)

custom_hooks = [
    dict(type='mae_plugin.ExactResumeHook'),
    dict(type='mae_plugin.NonFiniteGuard'),
    dict(type='mae_plugin.PreemptionHook'),
    dict(type='mae_plugin.BadImagesHook'),
    dict(type='mae_plugin.ReconstructionHook', interval=20),
    # Writes report.html after training; given labelled folders, it scores the features as well.
    dict(type='mae_plugin.MonitorHook'),
]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='mmengine.Visualizer', vis_backends=vis_backends)

randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
