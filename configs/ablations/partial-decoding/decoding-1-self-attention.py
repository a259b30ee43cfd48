"""Beyond the paper: its own decoder, to compare with: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='self-attention', paper=dict(fine_tune=84.9, linear=73.5))
