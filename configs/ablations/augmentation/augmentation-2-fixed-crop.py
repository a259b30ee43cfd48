"""Table 1e, crops of fixed size, flipped: 84.7 fine-tuned and 73.1 linear."""

_base_ = '../default.py'

ablation = dict(row='crop, fixed size', paper=dict(fine_tune=84.7, linear=73.1))

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mae_plugin.LoadFixedCrop'),
            dict(type='mae_plugin.PackInputs'),
        ]
    )
)
