"""Figure 5, 40% of the patches masked: 84.7 fine-tuned and 67.0 linear."""

_base_ = '../default.py'

ablation = dict(row='40%', paper=dict(fine_tune=84.7, linear=67.0))

model = dict(masking=dict(mask_ratio=0.4))
