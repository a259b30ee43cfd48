r"""Pretrain on the small labelled set with a MAE's features as target, not pixels.

Data:  python tools/make_class_folders.py
Run:   python tools/train.py configs/playground/mae_classes.py          (the teacher, once)
       python tools/train.py configs/playground/teacher_classes.py
       Another teacher: --cfg-options \
           model.head.target.teacher.init_cfg.checkpoint=FILE
Cost:  1.5 times that of mae_classes.py: the teacher sees whole pictures.
"""

_base_ = './mae_classes.py'

model = dict(
    head=dict(
        target=dict(
            _delete_=True,
            type='mae_plugin.TeacherTarget',
            teacher=dict(
                type='mae_plugin.ViT',
                arch=_base_.arch,
                img_size=_base_.crop_size,
                patch_size=_base_.patch_size,
                init_cfg=dict(type='Pretrained', checkpoint='work_dirs/mae_classes/epoch_40.pth'),
            ),
        )
    )
)
