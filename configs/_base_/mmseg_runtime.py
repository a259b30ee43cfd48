"""Runtime of segmentation runs; mmseg's own base is out of reach (its fork has another name)."""

_base_ = './mmdet_runtime.py'

default_scope = 'mmseg'

default_hooks = dict(
    checkpoint=dict(interval=16000),
    visualization=dict(type='SegVisualizationHook'),
)

env_cfg = dict(cudnn_benchmark=True)

visualizer = dict(type='SegLocalVisualizer')
