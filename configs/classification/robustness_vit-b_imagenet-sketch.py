r"""ImageNet-Sketch (drawings, 1000 classes): test of an ImageNet-1k classifier.

Run:   python tools/test.py configs/classification/robustness_vit-b_imagenet-sketch.py \
           CHECKPOINT --data-root DIR
       CHECKPOINT comes from finetune_vit-b_mae_100e_in1k.py. For L and H change `_base_`.
Cost:  one forward pass over the set; nothing is trained.
Score: top-1 B 34.5, L 45.3, H 49.6, H at 448 px 50.9 (MAE paper, appendix B).
"""

_base_ = './robustness_vit-b_imagenet-a.py'

data_root = 'data/imagenet-sketch/'

test_dataloader = dict(dataset=dict(data_root=data_root))
