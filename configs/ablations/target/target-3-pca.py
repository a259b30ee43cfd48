"""Table 1d, the largest 96 PCA coefficients of each patch: 84.6 fine-tuned and 72.3 linear."""

_base_ = '../default.py'

ablation = dict(row='PCA', paper=dict(fine_tune=84.6, linear=72.3))

model = dict(head=dict(target=dict(_delete_=True, type='mae_plugin.PCATarget', num_components=96)))
custom_hooks = [*_base_.custom_hooks, dict(type='mae_plugin.PCAFitHook')]
