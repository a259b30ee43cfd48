r"""MAE ViT-B/16 with masks from green noise: clusters of patches spread evenly, 300 epochs.

Paper: ColorMAE, "Exploring Data-Independent Masking Strategies in Masked AutoEncoders" (Hinojosa
       et al., ECCV 2024), https://arxiv.org/abs/2407.13036.
Run:   tools/dist_train.sh \
           configs/pretrain/mae-green_vit-base-p16_8xb512-amp-coslr-300e_in1k.py 8 \
           --data-root DIR
       Another length: `--cfg-options train_cfg.max_epochs=800`; another colour:
       `--cfg-options model.masking.band=red` (or blue, purple).
Cost:  as mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py: the filters take 33 thousand
       multiply-adds an image at 224 px, the model 9.5 billion.
Score: at 300 / 800 / 1600 epochs ADE20K 45.8 / 49.2 / 49.3 mIoU, ImageNet-1k fine-tuned
       83.0 / 83.6 / 83.8 top-1; at 300 / 800 epochs COCO 48.7 / 49.5 box AP; on ADE20K at 300
       epochs 2.72 points above MAE (all as ColorMAE reports them; not reproduced here). The paper
       cuts its masks out of a file of patterns; here they are drawn, and the widths of the
       filters are ours.
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(masking=dict(type='mae_plugin.GreenNoiseMasking', band='green'))
train_cfg = dict(max_epochs=300)
