r"""MAE ViT-B/16 that predicts the 96 largest PCA coefficients of each patch, 800 epochs.

Paper: https://arxiv.org/abs/2111.06377 (table 1d, there with ViT-L).
Run:   tools/dist_train.sh \
           configs/pretrain/mae-pca_vit-base-p16_8xb512-amp-coslr-800e_in1k.py 8 \
           --data-root DIR
Cost:  as configs/mae_vit-b_pretrain.py; before the first iteration the components are fitted on
       1024 images of the training set. They are stored in the checkpoints.
Score: with ViT-L 84.6 top-1 fine-tuned, 72.3 linear probe, where plain pixels have 84.9 and 73.5
       (paper, table 1d).
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(head=dict(target=dict(_delete_=True, type='mae_plugin.PCATarget', num_components=96)))
custom_hooks = [*_base_.custom_hooks, dict(type='mae_plugin.PCAFitHook')]
