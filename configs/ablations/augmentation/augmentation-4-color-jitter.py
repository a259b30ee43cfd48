"""Table 1e, crops of random size and colour jitter: 84.3 fine-tuned and 71.9 linear."""

_base_ = '../default.py'

ablation = dict(row='crop + colour jitter', paper=dict(fine_tune=84.3, linear=71.9))

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mae_plugin.LoadRandomResizedCrop', color_jitter=dict()),
            dict(type='mae_plugin.PackInputs'),
        ]
    )
)
