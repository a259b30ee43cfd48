"""Table 1a, decoder of 1 block: 84.8 fine-tuned and 65.5 linear."""

_base_ = '../default.py'

ablation = dict(row='1', paper=dict(fine_tune=84.8, linear=65.5))

model = dict(decoder=dict(depth=1))
