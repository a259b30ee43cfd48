"""Table 1a, decoder of 8 blocks: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='8', paper=dict(fine_tune=84.9, linear=73.5))

model = dict(decoder=dict(depth=8))
