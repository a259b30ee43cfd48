"""Table 1f, block-wise sampling of 50%: 83.9 fine-tuned and 72.3 linear."""

_base_ = '../default.py'

ablation = dict(row='block 50%', paper=dict(fine_tune=83.9, linear=72.3))

model = dict(masking=dict(type='mae_plugin.BlockMasking', mask_ratio=0.50))
