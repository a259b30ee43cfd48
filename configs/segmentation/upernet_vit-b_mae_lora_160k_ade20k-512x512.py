r"""UperNet, ViT-B, MAE-pretrained, ADE20K at 512 px: a frozen backbone with LoRA.

Paper: https://arxiv.org/abs/2106.09685
Run:   tools/dist_train.sh \
           configs/segmentation/upernet_vit-b_mae_lora_160k_ade20k-512x512.py 8
       Any encoder that is read here: --pretrained FILE, or from a host's tools/train.py
       --cfg-options model.backbone.module.init_cfg.checkpoint=FILE.
       The checkpoint has adapters, neck and heads; python tools/merge_lora.py makes a whole one.
Cost:  as upernet_vit-b_mae_160k_ade20k-512x512.py, with 0.88 M trained parameters of the backbone
       (1.0%) and gradients and optimizer state for no more.
Score: not measured yet.
"""

_base_ = './upernet_vit-b_mae_160k_ade20k-512x512.py'

model = dict(
    backbone=dict(_delete_=True, type='mae_plugin.LoRA', module=_base_.model.backbone, rank=16)
)
# Adapters of all blocks learn alike.
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
