r"""Mask R-CNN, ViT-B, MAE-pretrained: ViTDet's recipe with a frozen backbone and LoRA.

Paper: https://arxiv.org/abs/2106.09685
Run:   tools/dist_train.sh \
           configs/detection/mask-rcnn_vitdet-b_mae_lora_lsj-100e_coco.py 8
       Any encoder that is read here: --pretrained FILE, or from a host's tools/train.py
       --cfg-options model.backbone.module.init_cfg.checkpoint=FILE.
       The checkpoint has adapters, neck and heads; python tools/merge_lora.py makes a whole one.
Cost:  as mask-rcnn_vitdet-b_mae_lsj-100e_coco.py, with 0.88 M trained parameters of the backbone
       (1.0%) and gradients and optimizer state for no more.
Score: not measured yet.
"""

_base_ = './mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mae_plugin.LoRA', module=_base_.model.backbone, rank=16)
)
# Adapters of all blocks learn alike.
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
