"""Beyond the paper: Pixio's augmentation: crops that are not flipped."""

_base_ = 'family-01-mae.py'

ablation = dict(row='no flip', paper=dict())

pipeline = _base_.train_dataloader.dataset.pipeline
pipeline[0]['flip_prob'] = 0.0
