r"""Mask R-CNN, ViT-B, MAE-pretrained: ViTDet's recipe on COCO.

Paper: https://arxiv.org/abs/2203.16527
Run:   tools/dist_train.sh \
           configs/detection/mask-rcnn_vitdet-b_mae_lsj-100e_coco.py 8
       ACCUMULATE=8 python tools/train.py \
           configs/detection/mask-rcnn_vitdet-b_mae_lsj-100e_coco.py
       Starts from the official MAE ViT-B; from your own with --pretrained FILE, or from a host's
       tools/train.py with --cfg-options model.backbone.init_cfg.checkpoint=FILE.
Cost:  184,375 steps of 64 images; 10.9 GB for 2 images on one A100 (published).
Score: box AP 51.6, mask AP 45.9 (published by detectron2's ViTDet).
"""

_base_ = [
    '../_base_/models/mask-rcnn_vitdet-b.py',
    '../_base_/datasets/coco_lsj-1024.py',
    '../_base_/schedules/vitdet_100e.py',
    '../_base_/mmdet_runtime.py',
]
