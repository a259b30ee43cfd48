r"""MAE ViT-B/16 on images that another MAE finds hard: soft curation of large, uneven collections.

Paper: Pixio, "In Pursuit of Pixel Supervision for Visual Pre-training" (Yang et al., CVPR 2026),
       https://arxiv.org/abs/2512.15715, which curated 2 billion images of the web so.
Data:  a first MAE, trained on all of DIR or a part of it, writes its loss on each image:
           python tools/score_images.py work_dirs/FIRST/epoch_N.pth DIR --out losses.npz
Run:   tools/dist_train.sh configs/pretrain/mae_vit-b-p16_curated.py 8 --data-root DIR
Cost:  as configs/mae_vit-b_pretrain.py for each image. A pass, and an epoch, has as many images as
       the losses of all add up to (each at most 1), often half of them: with normalised pixels an
       image is kept with a probability equal to its loss. `scores` may lie anywhere;
       `train_dataloader.sampler.full=0.5` keeps all images of that loss or more.
Score: none published for the curation alone.
"""

_base_ = '../mae_vit-b_pretrain.py'

train_dataloader = dict(sampler=dict(type='mae_plugin.CuratedSampler', scores='losses.npz'))
