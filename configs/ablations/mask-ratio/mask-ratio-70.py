"""Figure 5, 70% of the patches masked: 84.9 fine-tuned and 73.2 linear."""

_base_ = '../default.py'

ablation = dict(row='70%', paper=dict(fine_tune=84.9, linear=73.2))

model = dict(masking=dict(mask_ratio=0.7))
