"""Pretrain the playground's encoder on unlabelled scenes: the first of its three runs.

Data:  python tools/make_playground.py          (6,000 scenes, a minute)
Run:   python tools/train.py configs/playground/mae_playground.py
Cost:  25 minutes on one CPU core (OMP_NUM_THREADS=1).
Then:  mask-rcnn_playground.py and upernet_playground.py start from its checkpoint as it is.
"""

_base_ = [
    './_base_/playground_vit.py',
    './_base_/playground_pretrain.py',
    '../_base_/schedules/mae_adamw_cosine.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='mae_plugin.MAE',
    data_preprocessor=dict(type='mae_plugin.MAEDataPreprocessor'),
    masking=dict(type='mae_plugin.RandomMasking', mask_ratio=0.75),
    backbone=dict(
        type='mae_plugin.ViT',
        arch=_base_.arch,
        img_size=_base_.crop_size,
        patch_size=_base_.patch_size,
    ),
    # The paper's decoder has 2/3 of the encoder's width and 2/3 of its depth; a lighter one
    # leaves more of two cores' time to the encoder.
    decoder=dict(
        type='mae_plugin.MAEDecoder',
        embed_dims=96,
        depth=2,
        num_heads=3,
    ),
    head=dict(
        type='mae_plugin.ReconstructionHead',
        target=dict(type='mae_plugin.PixelTarget', norm_pix=True),
    ),
)

# Tiny models want a larger step than the paper's 1.5e-4 for 256 images.
optim_wrapper = dict(optimizer=dict(lr=8e-3 * _base_.batch_size / 256))
auto_scale_lr = dict(base_batch_size=_base_.batch_size)

warmup_epochs = 2
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = param_scheduler[1]['begin'] = warmup_epochs
train_cfg = dict(max_epochs=24)
default_hooks = dict(logger=dict(interval=100), checkpoint=dict(interval=5, max_keep_ckpts=2))
