"""Table 1b, decoder of width 1024: 84.3 fine-tuned and 73.1 linear."""

_base_ = '../default.py'

ablation = dict(row='1024', paper=dict(fine_tune=84.3, linear=73.1))

model = dict(decoder=dict(embed_dims=1024))
