r"""UperNet, ViT-B, MAE-pretrained, ADE20K at 512 px, 160,000 steps (MAE paper, table 5).

Paper: https://arxiv.org/abs/2111.06377
Run:   tools/dist_train.sh \
           configs/segmentation/upernet_vit-b_mae_160k_ade20k-512x512.py 8
       python tools/train.py \
           configs/segmentation/upernet_vit-b_mae_160k_ade20k-512x512.py \
           --cfg-options train_dataloader.batch_size=16
       Starts from the official MAE ViT-B; from your own with --pretrained FILE, or from a host's
       tools/train.py with --cfg-options model.backbone.init_cfg.checkpoint=FILE.
Cost:  160,000 steps of 16 images, float16 (AMP is on).
Score: mIoU 48.1 (MAE paper, table 5; mmseg's model zoo 48.13, multi-scale 48.70). One of the MAE
       authors used lr 8e-5 and layer decay 0.8 for B.
"""

_base_ = [
    '../_base_/models/upernet_vit-b.py',
    '../_base_/datasets/ade20k-512.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/mmseg_runtime.py',
]
