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

_base_ = [
    './upernet_vit-b_mae_160k_ade20k-512x512.py',
    '../_base_/datasets/ade20k_multi_scale.py',
]

# Wraps the model when the test begins: `model` stays what mmseg's `init_model` can build.
custom_hooks = [dict(type='PrepareTTAHook', tta_cfg=dict(type='SegTTAModel'))]
test_dataloader = dict(dataset=dict(pipeline=_base_.tta_pipeline))
