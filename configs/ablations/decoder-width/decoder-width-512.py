"""Table 1b, decoder of width 512: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='512', paper=dict(fine_tune=84.9, linear=73.5))

model = dict(decoder=dict(embed_dims=512))
