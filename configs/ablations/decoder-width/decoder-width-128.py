"""Table 1b, decoder of width 128: 84.9 fine-tuned and 69.1 linear."""

_base_ = '../default.py'

ablation = dict(row='128', paper=dict(fine_tune=84.9, linear=69.1))

model = dict(decoder=dict(embed_dims=128))
