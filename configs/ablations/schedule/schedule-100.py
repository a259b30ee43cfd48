"""Figure 7, 100 epochs: 82.3 fine-tuned and 57.3 linear."""

_base_ = '../default.py'

ablation = dict(row='100 epochs', paper=dict(fine_tune=82.3, linear=57.3))

train_cfg = dict(max_epochs=100)
