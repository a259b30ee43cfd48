"""Table 1e, crops of random size, flipped: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='crop, random size', paper=dict(fine_tune=84.9, linear=73.5))
