r"""UperNet on Pixio ViT-B/16, fine-tuned, ADE20K at 512 px.

Paper: https://arxiv.org/abs/2512.15715
Run:   tools/dist_train.sh \
           configs/segmentation/upernet_vit-b_pixio_160k_ade20k-512x512.py 8
       Starts from --pretrained FILE: a run of configs/pretrain/pixio_*.py, or Pixio's own file.
       Frozen: --cfg-options model.backbone.frozen_stages=12
Cost:  160,000 steps of 16 images, float16 (AMP is on).
Score: none published for UperNet.
"""

_base_ = './upernet_vit-b_dinov3_160k_ade20k-512x512.py'

model = dict(backbone=dict(arch='pixio-base', init_cfg=dict(checkpoint='pixio-base')))
