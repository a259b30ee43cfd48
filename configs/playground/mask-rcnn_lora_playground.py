r"""Mask R-CNN on the playground's encoder, frozen, with low-rank adapters (LoRA).

Data:  python tools/make_playground.py
Run:   python tools/train.py configs/playground/mask-rcnn_lora_playground.py \
           --pretrained work_dirs/mae_playground/epoch_24.pth
Cost:  as mask-rcnn_playground.py.
Score: not measured yet.
"""

_base_ = './mask-rcnn_playground.py'

model = dict(
    backbone=dict(_delete_=True, type='mae_plugin.LoRA', module=_base_.model.backbone, rank=16)
)
