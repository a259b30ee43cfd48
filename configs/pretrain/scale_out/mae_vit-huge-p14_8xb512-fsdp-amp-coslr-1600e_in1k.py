r"""MAE ViT-H/14, 1600 epochs, fully sharded: parameters, gradients, optimizer state over the GPUs.

The numbers are those of mae_vit-huge-p14_8xb512-amp-coslr-1600e_in1k.py; what differs is memory.
A checkpoint is one plain file, gathered on rank 0. For models that no process can hold whole:
`--cfg-options strategy.sharded=True` writes a folder with one file for each process, resumes on
any number of them, and `tools/gather_checkpoint.py` makes one plain file of it for transfer.

Paper: https://arxiv.org/abs/2111.06377 (table 8).
Run:   tools/dist_train.sh \
           configs/pretrain/scale_out/mae_vit-huge-p14_8xb512-fsdp-amp-coslr-1600e_in1k.py 8 \
           --data-root DIR
Cost:  as the plain config in images; of weights, gradients and AdamW, 16 bytes a parameter over
       all GPUs instead of on each: 1.3 instead of 10.5 GB on each of 8.
Score: as the plain config: FSDP's losses equal DDP's (tested on small models).
"""

_base_ = '../mae_vit-huge-p14_8xb512-amp-coslr-1600e_in1k.py'

runner_type = 'FlexibleRunner'
# Each transformer block is gathered when it computes, and freed after.
strategy = dict(type='mae_plugin.FSDPStrategy')
