"""Table 1e, the centre of the image, no flip: 84.0 fine-tuned and 65.7 linear."""

_base_ = '../default.py'

ablation = dict(row='none', paper=dict(fine_tune=84.0, linear=65.7))

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mae_plugin.LoadFixedCrop', random=False, flip_prob=0.0),
            dict(type='mae_plugin.PackInputs'),
        ]
    )
)
