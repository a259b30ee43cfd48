"""Table 1d, plain pixels: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='pixel', paper=dict(fine_tune=84.9, linear=73.5))
