r"""Pixio's parts on the small labelled set: cells of 2x2 patches, 4 class tokens, deeper decoder.

Smaller cells and fewer tokens than Pixio's 4x4 and 8, as LightlySSL found best at small scale.

Data:  python tools/make_class_folders.py
Run:   python tools/train.py configs/playground/pixio_classes.py
       Single parts: `--cfg-options model.masking.cell_size=1`, `model.backbone.num_cls_tokens=1`,
       `model.decoder.depth=2`, `model.backbone.positions.type=mae_plugin.SinCosPositions`
       `model.decoder.positions.type=mae_plugin.SinCosPositions`,
       `train_dataloader.dataset.pipeline.0.flip_prob=0.5`.
Cost:  40 epochs of 6,000 pictures: about 25 minutes on one CPU core (OMP_NUM_THREADS=1), 2.2 times
       mae_classes.py; the deep decoder takes most of it.
Then:  python tools/probe.py work_dirs/pixio_classes/epoch_40.pth --data-root data/classes
       python tools/train.py configs/playground/finetune_classes.py \
           --pretrained work_dirs/pixio_classes/epoch_40.pth --cfg-options \
           model.backbone.num_cls_tokens=4 model.neck.num_prefix_tokens=4 \
           model.neck.num_cls_tokens=4
"""

_base_ = './mae_classes.py'

learned = dict(type='mae_plugin.LearnedPositions')

model = dict(
    masking=dict(type='mae_plugin.CellMasking', cell_size=2),
    backbone=dict(num_cls_tokens=4, positions=learned),
    decoder=dict(depth=8, positions=learned),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='mae_plugin.LoadRandomResizedCrop', scale=(0.2, 1.0), flip_prob=0.0),
            dict(type='mae_plugin.PackInputs'),
        ],
    ),
)
