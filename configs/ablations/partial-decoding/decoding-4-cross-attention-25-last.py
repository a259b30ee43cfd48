"""Beyond the paper: the same, but every decoder block reads the encoder's last tokens alone."""

_base_ = 'decoding-3-cross-attention-25.py'

ablation = dict(row='cross-attention, 25% predicted, from the last layer', paper=dict())

model = dict(decoder=dict(in_layers=1))
