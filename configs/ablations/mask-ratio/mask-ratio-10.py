"""Figure 5, 10% of the patches masked: 83.2 fine-tuned and 54.6 linear."""

_base_ = '../default.py'

ablation = dict(row='10%', paper=dict(fine_tune=83.2, linear=54.6))

model = dict(masking=dict(mask_ratio=0.1))
