"""Figure 5, 20% of the patches masked: 83.4 fine-tuned and 58.9 linear."""

_base_ = '../default.py'

ablation = dict(row='20%', paper=dict(fine_tune=83.4, linear=58.9))

model = dict(masking=dict(mask_ratio=0.2))
