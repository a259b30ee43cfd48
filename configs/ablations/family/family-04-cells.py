"""Beyond the paper: Pixio's masks of cells, here of 2x2 patches."""

_base_ = 'family-01-mae.py'

ablation = dict(row='cells of 2x2', paper=dict())

model = dict(masking=dict(_delete_=True, type='mae_plugin.CellMasking', cell_size=2))
