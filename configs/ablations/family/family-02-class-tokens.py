"""Beyond the paper: Pixio's class tokens: eight for 256 patches, here four."""

_base_ = 'family-01-mae.py'

ablation = dict(row='4 class tokens', paper=dict())

model = dict(backbone=dict(num_cls_tokens=4))
