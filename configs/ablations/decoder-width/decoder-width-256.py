"""Table 1b, decoder of width 256: 84.8 fine-tuned and 71.3 linear."""

_base_ = '../default.py'

ablation = dict(row='256', paper=dict(fine_tune=84.8, linear=71.3))

model = dict(decoder=dict(embed_dims=256))
