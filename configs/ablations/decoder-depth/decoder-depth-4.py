"""Table 1a, decoder of 4 blocks: 84.9 fine-tuned and 71.9 linear."""

_base_ = '../default.py'

ablation = dict(row='4', paper=dict(fine_tune=84.9, linear=71.9))

model = dict(decoder=dict(depth=4))
