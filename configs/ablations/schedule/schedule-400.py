"""Figure 7, 400 epochs: 84.3 fine-tuned and 69.7 linear."""

_base_ = '../default.py'

ablation = dict(row='400 epochs', paper=dict(fine_tune=84.3, linear=69.7))

train_cfg = dict(max_epochs=400)
