"""A tiny run in the words of version 0.1, whose checkpoints are stored in ``tests/data``.

``python earlier_version.py WORK_DIR`` in a checkout of commit ed43c2a made them: names without a
scope, facts repeated, no hooks but those of that time.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

SHAPE = dict(img_size=16, patch_size=8)


def write_images(folder: Path) -> None:
    """Eight images that are the same everywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(8):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{index}.png'), pixels)


def config(work_dir: Path) -> dict:
    """A MAE of width 8: four iterations, with a checkpoint after the second."""
    return dict(
        default_scope='mae_plugin',
        work_dir=str(work_dir / 'run'),
        experiment_name='earlier',
        launcher='none',
        model=dict(
            type='MAE',
            data_preprocessor=dict(
                type='MAEDataPreprocessor',
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
            ),
            masking=dict(type='RandomMasking', mask_ratio=0.5),
            backbone=dict(type='ViT', arch=dict(embed_dims=8, num_layers=1, num_heads=2), **SHAPE),
            decoder=dict(
                type='MAEDecoder', in_dims=8, embed_dims=8, depth=1, num_heads=1, **SHAPE
            ),
            head=dict(
                type='ReconstructionHead',
                in_dims=8,
                target=dict(type='PixelTarget', patch_size=8, norm_pix=True),
            ),
        ),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='StreamSampler'),
            collate_fn=dict(type='mae_plugin.stack_collate'),
            dataset=dict(
                type='ImageFolder',
                data_root=str(work_dir / 'images'),
                data_prefix='',
                labels=False,
                index_cache=False,
                pipeline=[dict(type='LoadRandomResizedCrop', size=16), dict(type='PackInputs')],
            ),
        ),
        train_cfg=dict(type='ResumableEpochLoop', max_epochs=2),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05),
            constructor='ViTOptimWrapperConstructor',
            paramwise_cfg=dict(decay_tokens=True),
        ),
        param_scheduler=[
            dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)
        ],
        auto_scale_lr=dict(enable=True, base_batch_size=4),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3),
        ),
        custom_hooks=[
            dict(type='ExactResumeHook'),
            dict(type='NonFiniteGuard'),
            dict(type='PreemptionHook'),
            dict(type='BadImagesHook'),
        ],
        visualizer=dict(type='LazyVisualizer', vis_backends=[dict(type='LocalVisBackend')]),
        randomness=dict(seed=3),
        log_level='WARNING',
    )


if __name__ == '__main__':
    from mmengine.config import Config

    from mae_plugin.engine.runner import build_runner

    place = Path(sys.argv[1])
    write_images(place / 'images')
    build_runner(Config(config(place))).train()
