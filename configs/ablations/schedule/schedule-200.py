"""Figure 7, 200 epochs: 83.3 fine-tuned and 64.4 linear."""

_base_ = '../default.py'

ablation = dict(row='200 epochs', paper=dict(fine_tune=83.3, linear=64.4))

train_cfg = dict(max_epochs=200)
