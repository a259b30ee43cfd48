"""Figure 5, 75% of the patches masked: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='75%', paper=dict(fine_tune=84.9, linear=73.5))
