r"""Train the playground's small encoder from scratch: the protocol of scratch_vit-b_300e_in1k.py.

Data:  python tools/make_class_folders.py
Run:   python tools/train.py configs/playground/scratch_classes.py
Cost:  20 epochs of 6,000 pictures: about 8 minutes on one CPU core (OMP_NUM_THREADS=1).
"""

_base_ = './finetune_classes.py'

epochs = 20
warmup_epochs = 2

optim_wrapper = dict(
    optimizer=dict(betas=(0.9, 0.95), weight_decay=0.3),
    paramwise_cfg=dict(layer_decay_rate=1.0),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = param_scheduler[1]['begin'] = warmup_epochs
param_scheduler[1]['eta_min_ratio'] = 0.0

# The averaged weights are what is validated; the average is over a twentieth of these few updates.
updates = epochs * 6000 // _base_.batch_size
custom_hooks = [dict(type='EMAHook', momentum=20 / updates)]

train_cfg = dict(max_epochs=epochs, val_interval=epochs)
