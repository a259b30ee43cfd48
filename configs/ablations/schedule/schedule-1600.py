"""Figure 7, 1600 epochs: 85.1 fine-tuned and 75.1 linear."""

_base_ = '../default.py'

ablation = dict(row='1600 epochs', paper=dict(fine_tune=85.1, linear=75.1))

train_cfg = dict(max_epochs=1600)
