"""Table 1a, decoder of 2 blocks: 84.9 fine-tuned and 70.0 linear."""

_base_ = '../default.py'

ablation = dict(row='2', paper=dict(fine_tune=84.9, linear=70.0))

model = dict(decoder=dict(depth=2))
