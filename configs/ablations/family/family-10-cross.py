"""Beyond the paper: CrossMAE's decoder on a third of the masked patches, on mixed blocks."""

_base_ = '../partial-decoding/decoding-3-cross-attention-25.py'

ablation = dict(row='cross-attention (CrossMAE)', paper=dict())

model = dict(head=dict(target=dict(norm_pix=True)))
