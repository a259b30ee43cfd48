"""Table 1f, block-wise sampling of 75%: 82.8 fine-tuned and 63.9 linear."""

_base_ = '../default.py'

ablation = dict(row='block 75%', paper=dict(fine_tune=82.8, linear=63.9))

model = dict(masking=dict(type='mae_plugin.BlockMasking', mask_ratio=0.75))
