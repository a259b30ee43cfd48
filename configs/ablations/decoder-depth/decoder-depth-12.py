"""Table 1a, decoder of 12 blocks: 84.4 fine-tuned and 73.3 linear."""

_base_ = '../default.py'

ablation = dict(row='12', paper=dict(fine_tune=84.4, linear=73.3))

model = dict(decoder=dict(depth=12))
