"""Figure 5, 50% of the patches masked: 84.9 fine-tuned and 69.9 linear."""

_base_ = '../default.py'

ablation = dict(row='50%', paper=dict(fine_tune=84.9, linear=69.9))

model = dict(masking=dict(mask_ratio=0.5))
