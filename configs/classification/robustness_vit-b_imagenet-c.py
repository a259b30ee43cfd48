r"""ImageNet-C (mean corruption error, lower is better): test of an ImageNet-1k classifier.

Run:   python tools/test.py configs/classification/robustness_vit-b_imagenet-c.py \
           CHECKPOINT --data-root DIR
       CHECKPOINT comes from finetune_vit-b_mae_100e_in1k.py. For L and H change `_base_`.
       DIR holds <corruption>/<severity>/<class>/, the 15 corruptions of the benchmark.
Cost:  one forward pass over the set; nothing is trained.
Score: mCE B 51.7, L 41.8, H 33.8, H at 448 px 36.8 (MAE paper, appendix B).
"""

_base_ = './robustness_vit-b_imagenet-a.py'

data_root = 'data/imagenet-c/'

# Its images have 224 px already: the benchmark's own evaluation cuts the centre and resizes
# nothing. At 448 px: dict(type='Resize', scale=448, backend='pillow', interpolation='bicubic').
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_evaluator = dict(corruptions=True)
