r"""MAE ViT-B/16 that predicts CLIP's features of the masked patches instead of pixels, 400 epochs.

Paper: MILAN, "Masked Image Pretraining on Language Assisted Representation" (Hou et al. 2022),
       https://arxiv.org/abs/2208.06049; EVA, https://arxiv.org/abs/2211.07636.
Needs: mmpretrain (`pip install -e '.[cls]'`), whose trunk has CLIP's parts, and its file of
       OpenAI's ViT-L/14, which is not fetched here: put it at data/clip_vit-l-p14.pth, from
       https://download.openmmlab.com/mmclassification/v0/clip/vit-large-p14_clip-openai-pre_3rdparty_20230517-95e2af0b.pth
Run:   tools/dist_train.sh \
           configs/pretrain/mae-clip_vit-base-p16_8xb512-amp-coslr-400e_in1k.py 8 --data-root DIR
Cost:  as configs/mae_vit-b_pretrain.py, and the teacher's forward pass on whole images: 81 billion
       multiply-adds an image, where the student has 9.5.
Score: none published for this recipe. MILAN, ViT-B, 400 epochs, with features of CLIP's ViT-B/16
       and a decoder and masks of its own: 85.3 top-1 fine-tuned, 78.9 linear probe, where MAE has
       83.3 and 62.5 (MILAN's and mmpretrain's tables).

The teacher may be any encoder, of any patch size: a ViT whose `init_cfg` names a file that our
loader reads (a MAE of your own: configs/playground/teacher_classes.py), or another toolbox's
backbone. It is not in the checkpoint, so that its file must be there when the run is resumed.
Images reach it at `teacher_size`, normalised by `teacher_mean` and `teacher_std`; its features are
normalised in each patch, and resized where it has another grid.
"""

_base_ = '../mae_vit-b_pretrain.py'

model = dict(
    head=dict(
        target=dict(
            _delete_=True,
            type='mae_plugin.TeacherTarget',
            teacher=dict(
                type='mmpretrain.VisionTransformer',
                arch='l',
                img_size=224,
                patch_size=14,
                pre_norm=True,
                norm_cfg=dict(type='LN', eps=1e-5),
                layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')),
                out_type='featmap',
                init_cfg=dict(type='Pretrained', checkpoint='data/clip_vit-l-p14.pth'),
            ),
            teacher_size=224,
            teacher_mean=(122.771, 116.746, 104.094),
            teacher_std=(68.501, 66.632, 70.323),
        )
    )
)
train_cfg = dict(max_epochs=400)
