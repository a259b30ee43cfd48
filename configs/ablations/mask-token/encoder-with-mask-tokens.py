"""Table 1c, mask tokens in the encoder (3.3x the FLOPs): 84.2 fine-tuned and 59.6 linear."""

_base_ = '../default.py'

ablation = dict(row='with [M]', paper=dict(fine_tune=84.2, linear=59.6))

model = dict(encoder_mask_tokens=True, decoder=dict(with_mask_token=False))
