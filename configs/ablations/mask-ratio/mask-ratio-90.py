"""Figure 5, 90% of the patches masked: 83.0 fine-tuned and 66.1 linear."""

_base_ = '../default.py'

ablation = dict(row='90%', paper=dict(fine_tune=83.0, linear=66.1))

model = dict(masking=dict(mask_ratio=0.9))
