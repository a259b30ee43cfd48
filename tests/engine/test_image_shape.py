"""Images of a run that another tool builds: mmengine's Runner, without our preparation."""

import numpy as np
from PIL import Image
from tiny_run import build_runner, mae_config


def test_our_loop_reads_what_the_encoder_takes(tmp_path):
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        (tmp_path / 'photos').mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f'photos/{number}.png')
    config = mae_config(tmp_path / 'run', tmp_path / 'photos', batch_size=2, epochs=1)
    arch = config['model']['backbone']['arch']
    config['model'].update(
        data_preprocessor=dict(type='MAEDataPreprocessor'),
        backbone=dict(type='ViT', arch=arch, img_size=(32, 16), patch_size=8, in_channels=1),
        decoder=dict(type='MAEDecoder', embed_dims=16, depth=1, num_heads=2),
        head=dict(type='ReconstructionHead'),
    )
    dataset = config['train_dataloader']['dataset']
    dataset['pipeline'] = [dict(type='LoadRandomResizedCrop'), dict(type='PackInputs')]
    runner = build_runner(config, 'image-shape')
    runner.train()
    assert runner.train_dataloader.dataset[0]['inputs'].shape == (1, 32, 16)
