"""Figure 5, 30% of the patches masked: 83.4 fine-tuned and 61.7 linear."""

_base_ = '../default.py'

ablation = dict(row='30%', paper=dict(fine_tune=83.4, linear=61.7))

model = dict(masking=dict(mask_ratio=0.3))
