"""MAE ViT-B/16 on windows of large images: slides, satellite scenes, mosaics.

Every window of 224 to 448 pixels is shown at 224; images come in proportion to their area, and
only the tiles that hold a window are read.

Run:   python tools/train.py configs/pretrain/mae_vit-b-p16_windows.py --data-root SLIDES
Cost:  a pass is the whole area, one sample for each 224 x 224 pixels; `samples` shortens it.
Score: no published result; mean and std are ImageNet's, set those of your data.
"""

_base_ = '../mae_vit-b_pretrain.py'

train_dataloader = dict(
    dataset=dict(
        type='mae_plugin.WindowFolder',
        window=224,
        pipeline=[
            dict(type='mae_plugin.LoadRandomWindow', scale=(1, 2), flip_prob=0.5),
            dict(type='mae_plugin.PackInputs'),
        ],
    )
)
test_dataloader = None
test_evaluator = None
test_cfg = None
