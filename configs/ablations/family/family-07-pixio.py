"""Beyond the paper: All of Pixio's parts together: rows 2 to 6."""

_base_ = 'family-06-no-flip.py'

ablation = dict(row='all of these', paper=dict())

learned = dict(type='mae_plugin.LearnedPositions')
model = dict(
    masking=dict(_delete_=True, type='mae_plugin.CellMasking', cell_size=2),
    backbone=dict(num_cls_tokens=4, positions=learned),
    decoder=dict(depth=16, positions=learned),
)
