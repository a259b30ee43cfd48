"""Table 1d, pixels normalised per patch: 85.4 fine-tuned and 73.9 linear."""

_base_ = '../default.py'

ablation = dict(row='pixel, normalised', paper=dict(fine_tune=85.4, linear=73.9))

model = dict(head=dict(target=dict(norm_pix=True)))
