r"""UperNet on DINOv2 ViT-B/14, fine-tuned, ADE20K at 512 px.

Paper: https://arxiv.org/abs/2304.07193
Run:   tools/dist_train.sh \
           configs/segmentation/upernet_vit-b_dinov2_160k_ade20k-512x512.py 8
       Starts from the official file; with registers set arch='dinov2-base-reg' and
       give --pretrained FILE.
       Frozen: --cfg-options model.backbone.frozen_stages=12
Cost:  160,000 steps of 16 images, float16 (AMP is on).
Score: none published for UperNet.
"""

_base_ = './upernet_vit-b_mae_160k_ade20k-512x512.py'

model = dict(
    # Whole patches of 14: crops of 512 are padded to the 37x37 grid of pretraining.
    data_preprocessor=dict(size=(518, 518), test_cfg=dict(size_divisor=14)),
    test_cfg=dict(crop_size=(518, 518), stride=(345, 345)),
    backbone=dict(
        _delete_=True,
        type='mae_plugin.ViTBackbone',
        arch='dinov2-base',
        out_indices=(3, 5, 7, 11),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth',
        ),
    ),
)
