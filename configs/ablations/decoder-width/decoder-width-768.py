"""Table 1b, decoder of width 768: 84.4 fine-tuned and 73.1 linear."""

_base_ = '../default.py'

ablation = dict(row='768', paper=dict(fine_tune=84.4, linear=73.1))

model = dict(decoder=dict(embed_dims=768))
