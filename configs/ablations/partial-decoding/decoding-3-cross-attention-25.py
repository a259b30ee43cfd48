"""Beyond the paper: CrossMAE's decoder on a third of the masked patches."""

_base_ = '../default.py'

ablation = dict(row='cross-attention, 25% predicted', paper=dict())

model = dict(
    prediction_ratio=0.25,
    decoder=dict(
        _delete_=True,
        type='CrossAttentionDecoder',
        in_dims=1024,
        embed_dims=512,
        depth=8,
        num_heads=16,
        img_size=224,
        patch_size=16,
    ),
)
