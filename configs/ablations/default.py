"""What every ablation changes one knob of: ViT-L/16, 800 epochs, plain pixels (paper, section 4).

One row:  python tools/train.py configs/ablations/decoder-depth/decoder-depth-1.py --data-root DIR
A table:  python tools/ablate.py decoder-depth --data-root DIR [--scale tiny]
Cost:     8 GPUs x 512 images, 800 epochs; with `--scale tiny` two minutes a row on one CPU core.
Score:    84.9 fine-tuned, 73.5 linear.
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(
    backbone=dict(arch='large'),
    head=dict(target=dict(norm_pix=False)),
)
