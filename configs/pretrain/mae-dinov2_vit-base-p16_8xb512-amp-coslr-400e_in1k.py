r"""MAE ViT-B/16 that predicts DINOv2's features of the masked patches, 400 epochs.

Paper: "A Unified View of Masked Image Modeling" (Peng et al. 2022), arXiv 2210.10615, on teachers;
       the teacher: DINOv2 with registers, https://arxiv.org/abs/2309.16588.
Needs: DINOv2's file of ViT-B/14 with registers, which is not fetched here: put it at
       data/dinov2_vitb14_reg4.pth, from
       https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth
Run:   tools/dist_train.sh \
           configs/pretrain/mae-dinov2_vit-base-p16_8xb512-amp-coslr-400e_in1k.py 8 --data-root DIR
Cost:  as configs/mae_vit-b_pretrain.py, and the teacher's forward pass on whole images: 18 billion
       multiply-adds an image, where the student has 9.5.
Score: none published for this recipe.

The teacher sees images of 196 px here, at which one of its patches of 14 falls on each of ours;
its positions are resized as its own code does it. It is not in the checkpoint: see
mae-clip_vit-base-p16_8xb512-amp-coslr-400e_in1k.py.
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(
    head=dict(
        target=dict(
            _delete_=True,
            type='mae_plugin.TeacherTarget',
            teacher=dict(
                type='mae_plugin.ViT',
                arch='dinov2-base-reg',
                init_cfg=dict(type='Pretrained', checkpoint='data/dinov2_vitb14_reg4.pth'),
            ),
        )
    )
)
train_cfg = dict(max_epochs=400)
