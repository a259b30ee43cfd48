"""Table 1c, visible patches alone in the encoder: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='without [M]', paper=dict(fine_tune=84.9, linear=73.5))
