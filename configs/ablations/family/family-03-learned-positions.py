"""Beyond the paper: Pixio's positions, learned in encoder and decoder."""

_base_ = 'family-01-mae.py'

ablation = dict(row='learned positions', paper=dict())

learned = dict(type='mae_plugin.LearnedPositions')
model = dict(backbone=dict(positions=learned), decoder=dict(positions=learned))
