"""Figure 5, 60% of the patches masked: 85.0 fine-tuned and 71.8 linear."""

_base_ = '../default.py'

ablation = dict(row='60%', paper=dict(fine_tune=85.0, linear=71.8))

model = dict(masking=dict(mask_ratio=0.6))
