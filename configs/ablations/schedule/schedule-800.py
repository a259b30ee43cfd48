"""Figure 7, 800 epochs: 84.9 fine-tuned and 73.5 linear."""

_base_ = '../default.py'

ablation = dict(row='800 epochs', paper=dict(fine_tune=84.9, linear=73.5))

train_cfg = dict(max_epochs=800)
