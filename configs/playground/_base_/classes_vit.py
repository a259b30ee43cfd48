"""The labelled set's encoder: ViT of 128 channels and 5 blocks, 1.0 M parameters.

Pretraining, fine-tuning and the linear probe share it, so that the one's checkpoint fits the
others.
"""

arch = dict(embed_dims=128, num_layers=5, num_heads=4)
patch_size = 8
crop_size = 64  # side of the set's pictures
