"""Figure 5, 80% of the patches masked: 84.5 fine-tuned and 71.8 linear."""

_base_ = '../default.py'

ablation = dict(row='80%', paper=dict(fine_tune=84.5, linear=71.8))

model = dict(masking=dict(mask_ratio=0.8))
