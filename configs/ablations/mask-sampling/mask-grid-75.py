"""Table 1f, grid-wise sampling of 75%: 84.0 fine-tuned and 66.0 linear."""

_base_ = '../default.py'

ablation = dict(row='grid 75%', paper=dict(fine_tune=84.0, linear=66.0))

model = dict(masking=dict(type='mae_plugin.GridMasking', mask_ratio=0.75))
