"""Beyond the paper: CrossMAE's decoder on all masked patches."""

_base_ = '../default.py'

ablation = dict(row='cross-attention', paper=dict())

model = dict(
    decoder=dict(
        _delete_=True,
        type='mae_plugin.CrossAttentionDecoder',
        embed_dims=512,
        depth=8,
        num_heads=16,
        in_layers=24,
    ),
)
