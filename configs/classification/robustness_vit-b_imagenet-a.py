r"""ImageNet-A (natural adversarial examples, 200 classes): test of an ImageNet-1k classifier.

Run:   python tools/test.py configs/classification/robustness_vit-b_imagenet-a.py \
           CHECKPOINT --data-root DIR
       CHECKPOINT comes from finetune_vit-b_mae_100e_in1k.py. For L and H change `_base_`.
Cost:  one forward pass over the set; nothing is trained.
Score: top-1 B 35.9, L 57.1, H 68.2, H at 448 px 76.7 (MAE paper, appendix B).
"""

_base_ = './finetune_vit-b_mae_100e_in1k.py'

data_root = 'data/imagenet-a/'

model = dict(backbone=dict(init_cfg=None))

# Nothing is trained here.
train_dataloader = None
val_dataloader = None
train_cfg = None
val_cfg = None
optim_wrapper = None
param_scheduler = None
val_evaluator = None

test_dataloader = dict(dataset=dict(data_root=data_root, data_prefix='', classes=None))
# Which class a folder's name stands for is read off ImageNet's own folders.
test_evaluator = dict(
    _delete_=True,
    type='mae_plugin.ImageNetVariantAccuracy',
    imagenet_folders='data/imagenet/val',
)
