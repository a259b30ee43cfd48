"""Beyond the paper: MAE with normalised pixels, to compare with."""

_base_ = '../default.py'

ablation = dict(row='plain MAE', paper=dict())

model = dict(head=dict(target=dict(norm_pix=True)))
