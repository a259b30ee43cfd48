r"""Mask R-CNN on DINOv2 ViT-B/14: ViTDet's heads and schedule, fine-tuned.

The family's own features: no windows, which its prefix tokens leave no place for.
Patches of 14 become 16, so that maps have the strides that anchors and RoIs are made for.

Paper: https://arxiv.org/abs/2304.07193
Run:   tools/dist_train.sh \
           configs/detection/mask-rcnn_vit-b_dinov2_lsj-100e_coco.py 8
       Starts from the official file; with registers set arch='dinov2-base-reg' and
       give --pretrained FILE.
       Frozen: --cfg-options model.backbone.frozen_stages=12
Cost:  184,375 steps of 64 images; attention over 4096 patches in 12 blocks, recomputed in the
       backward pass.
Score: none published for Mask R-CNN.
"""

_base_ = './mask-rcnn_vit-b_dinov3_lsj-100e_coco.py'

model = dict(
    backbone=dict(
        arch='dinov2-base',
        patch_size=16,  # strides 4 to 32; the projection is resized at loading
        img_size=592,  # keeps the table's 37x37 grid
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth'
        ),
    ),
)
