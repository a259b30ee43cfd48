"""Beyond the paper: A decoder twice as deep as MAE's; Pixio's is four times."""

_base_ = 'family-01-mae.py'

ablation = dict(row='decoder of 16 blocks', paper=dict())

model = dict(decoder=dict(depth=16))
