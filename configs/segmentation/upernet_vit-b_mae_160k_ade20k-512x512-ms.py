r"""Multi-scale, flipped test of the UperNet on ViT-B: six scales and their mirror images.

A test of what `upernet_vit-b_mae_160k_ade20k-512x512.py` trained: logits of all twelve are
averaged after softmax.

Run:   python tools/test.py \
           configs/segmentation/upernet_vit-b_mae_160k_ade20k-512x512-ms.py CHECKPOINT
       tools/dist_test.sh \
           configs/segmentation/upernet_vit-b_mae_160k_ade20k-512x512-ms.py CHECKPOINT 8
Cost:  about 20 times the single-scale test.
Score: mIoU 48.70 (mmseg's model zoo).
"""

_base_ = './upernet_vit-b_mae_160k_ade20k-512x512.py'

model = dict(_delete_=True, type='SegTTAModel', module=_base_.model)

ratios = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(int(2048 * r), int(512 * r)), keep_ratio=True)
                for r in ratios
            ],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
test_dataloader = dict(dataset=dict(pipeline=tta_pipeline))
