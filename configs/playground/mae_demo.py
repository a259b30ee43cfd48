"""A first MAE in minutes on two cores: `make demo`.

Data:  the photographs inside the scikit-image package (`python tools/make_demo_data.py`).
Run:   python tools/train.py configs/playground/mae_demo.py
Cost:  about 8 minutes on 2 CPU cores, no GPU.
Score: loss near 0.25 on plain pixels. At half the patches removed held-out photographs come back
       softly; at three quarters their colours, shading and main shapes do.
"""

_base_ = '../mae_vit-b_pretrain.py'

# Many cheap updates beat few expensive ones; small patches make pictures that can be recognised.
batch_size = 32

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=128, num_layers=4, num_heads=4),
        img_size=48,
        patch_size=4,
    ),
    decoder=dict(embed_dims=64, depth=2, num_heads=4),
    # Plain pixels: their pictures are the clearest.
    head=dict(target=dict(norm_pix=False)),
)

data_root = 'data/demo/'
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    pin_memory=False,
    # About 150 files: many passes make one epoch.
    sampler=dict(repeats=20),
    dataset=dict(data_root=data_root),
)
test_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root))

# Tiny models want a larger step than the paper's 1.5e-4 for 256 images.
optim_wrapper = dict(optimizer=dict(lr=1.6e-2 * batch_size / 256))
auto_scale_lr = dict(base_batch_size=batch_size)

warmup_epochs = 2
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = param_scheduler[1]['begin'] = warmup_epochs
train_cfg = dict(max_epochs=34)

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(type='mae_plugin.CheckpointHook', interval=5, max_keep_ckpts=2),
)
