"""Beyond the paper: ColorMAE's masks from green noise."""

_base_ = 'family-01-mae.py'

ablation = dict(row='green noise', paper=dict())

model = dict(masking=dict(_delete_=True, type='mae_plugin.GreenNoiseMasking'))
