r"""MAE ViT-H/14, 1600 epochs, with DeepSpeed's ZeRO 2: gradients and optimizer state sharded.

Needs `pip install "deepspeed<0.19"` (0.18.2 was tried; mmengine does not know 0.19). Weights are
kept in float32 on every GPU and computed with in bfloat16, as without DeepSpeed. A checkpoint is a
folder that resumes on the same number of processes; `tools/gather_checkpoint.py FOLDER FILE` makes
one plain file of its weights. FSDP does the same without DeepSpeed, and shards the weights too:
mae_vit-huge-p14_8xb512-fsdp-amp-coslr-1600e_in1k.py.

Paper: https://arxiv.org/abs/2111.06377 (table 8).
Run:   tools/dist_train.sh \
           configs/pretrain/scale_out/mae_vit-huge-p14_8xb512-zero2-amp-coslr-1600e_in1k.py 8 \
           --data-root DIR
Cost:  as mae_vit-huge-p14_8xb512-amp-coslr-1600e_in1k.py in images; of weights, gradients and
       AdamW, 4 + 12 / GPUs bytes a parameter: 3.6 instead of 10.5 GB on each of 8.
Score: as the plain config: on two CPU processes a small model's weights equal DDP's. Not run on
       GPUs here.
"""

_base_ = '../mae_vit-huge-p14_8xb512-amp-coslr-1600e_in1k.py'

runner_type = 'FlexibleRunner'
# Not stage 3, under which rank 0 could not draw and probe alone; FSDP shards weights too.
# Gradients are accumulated by `gradient_accumulation_steps` here.
strategy = dict(
    type='mae_plugin.DeepSpeedStrategy',
    zero_optimization=dict(stage=2),
    config=dict(torch_autocast=dict(enabled=True, dtype='bfloat16')),
)
optim_wrapper = dict(
    _delete_=True,
    type='mae_plugin.DeepSpeedOptimWrapper',
    optimizer=_base_.optim_wrapper.optimizer,
    constructor=_base_.optim_wrapper.constructor,
    paramwise_cfg=_base_.optim_wrapper.paramwise_cfg,
)
