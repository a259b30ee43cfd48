"""The playground's encoder: ViT of 192 channels and 6 blocks, 2.7 M parameters.

Patches of 8 pixels keep a 128x96 scene at 16x12 tokens, about what ViT-B/16 sees of a 256x192
picture.
"""

arch = dict(embed_dims=192, num_layers=6, num_heads=3, mlp_ratio=4.0)
patch_size = 8
crop_size = 96  # side of the pretraining crops; positions are resized to the scenes
