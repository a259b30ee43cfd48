r"""Mask R-CNN on Pixio ViT-B/16: ViTDet's heads and schedule, fine-tuned.

The family's own features: no windows, which its prefix tokens leave no place for.

Paper: https://arxiv.org/abs/2512.15715
Run:   tools/dist_train.sh \
           configs/detection/mask-rcnn_vit-b_pixio_lsj-100e_coco.py 8
       Starts from --pretrained FILE: a run of configs/pretrain/pixio_*.py, or Pixio's own file.
       Frozen: --cfg-options model.backbone.frozen_stages=12
Cost:  184,375 steps of 64 images; attention over 4096 patches in 12 blocks, recomputed in the
       backward pass.
Score: none published for Mask R-CNN.
"""

_base_ = './mask-rcnn_vit-b_dinov3_lsj-100e_coco.py'

model = dict(backbone=dict(arch='pixio-base', init_cfg=dict(checkpoint='pixio-base')))
