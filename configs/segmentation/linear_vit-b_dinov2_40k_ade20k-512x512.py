r"""Linear segmentation head on the frozen DINOv2 ViT-B/14, ADE20K at 512 px.

Paper: https://arxiv.org/abs/2304.07193
Run:   tools/dist_train.sh \
           configs/segmentation/linear_vit-b_dinov2_40k_ade20k-512x512.py 8
       Starts from the official file; with registers set arch='dinov2-base-reg' and
       give --pretrained FILE.
Cost:  40,000 steps of 16 images; only the head is trained.
Score: not measured here.
"""

_base_ = './linear_vit-b_mae_40k_ade20k-512x512.py'

model = dict(
    # Whole patches of 14: crops of 512 are padded to the 37x37 grid of pretraining.
    data_preprocessor=dict(size=(518, 518), test_cfg=dict(size_divisor=14)),
    test_cfg=dict(crop_size=(518, 518), stride=(345, 345)),
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='dinov2-base',
        frozen_stages=12,
        final_norm=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth',
        ),
    ),
)
