"""Beyond the paper: MFF's fusion of six of the encoder's blocks for the decoder."""

_base_ = 'family-01-mae.py'

ablation = dict(row='fused blocks (MFF)', paper=dict())

model = dict(decoder=dict(in_layers=[0, 4, 8, 12, 16, 23]))
