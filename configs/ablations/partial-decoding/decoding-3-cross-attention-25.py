"""Beyond the paper: CrossMAE's decoder on a third of the masked patches, a quarter of all."""

_base_ = 'decoding-2-cross-attention.py'

ablation = dict(row='cross-attention, 25% predicted', paper=dict())

model = dict(prediction_ratio=0.25)
