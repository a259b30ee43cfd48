r"""Cascade Mask R-CNN, ViT-B, MAE-pretrained: ViTDet's recipe on COCO.

Paper: https://arxiv.org/abs/2203.16527
Run:   tools/dist_train.sh \
           configs/detection/cascade-mask-rcnn_vitdet-b_mae_lsj-100e_coco.py 8
       ACCUMULATE=8 python tools/train.py \
           configs/detection/cascade-mask-rcnn_vitdet-b_mae_lsj-100e_coco.py
Cost:  184,375 steps of 64 images; somewhat more memory than Mask R-CNN's 10.9 GB for 2 images.
Score: box AP 54.0, mask AP 46.7 (published by detectron2's ViTDet).
"""

_base_ = [
    '../_base_/models/cascade-mask-rcnn_vitdet-b.py',
    '../_base_/datasets/coco_lsj-1024.py',
    '../_base_/schedules/vitdet_100e.py',
    '../_base_/mmdet_runtime.py',
]
