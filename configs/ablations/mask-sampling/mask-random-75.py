"""Table 1f, uniform random sampling of 75%: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='random 75%', paper=dict(fine_tune=84.9, linear=73.5))
