"""Whoever shows images to a run's model decodes them as the run did."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mae_plugin.datasets.decoding_options import decoding_options
from mae_plugin.evaluation.features import labelled_loader
from mae_plugin.evaluation.stored_decoding import stored_decoding
from mae_plugin.models.vit import ViT
from mae_plugin.visualization.images import load_image


def config(**options) -> Config:
    load = dict(type='LoadRandomResizedCrop', size=32, channels=1, **options)
    dataset = dict(type='ImageFolder', data_root='x', pipeline=[load, dict(type='PackInputs')])
    return Config(dict(train_dataloader=dict(dataset=dict(type='Wrapper', dataset=dataset))))


@pytest.fixture
def scan(tmp_path):
    """A grey picture of 16 bits that uses 12, in a class folder."""
    pixels = np.random.default_rng(0).integers(0, 4096, (32, 32)).astype(np.uint16)
    (tmp_path / 'images/a').mkdir(parents=True)
    path = tmp_path / 'images/a/scan.png'
    cv2.imwrite(str(path), pixels)
    return path, pixels


def test_options_come_from_the_training_pipeline():
    assert decoding_options(config(keep_depth=True, nodata=-9999, flip_prob=0)) == dict(
        keep_depth=True, nodata=-9999
    )
    assert decoding_options(config()) == decoding_options(Config()) == {}
    concat = dict(type='ConcatDataset', datasets=[config(nodata=0).train_dataloader.dataset])
    assert decoding_options(dict(test_dataloader=dict(dataset=concat)), 'test_dataloader') == dict(
        nodata=0
    )


def test_a_checkpoint_tells_how_its_images_were_read(tmp_path, scan):
    path, pixels = scan
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta=dict(cfg=config(keep_depth=True).pretty_text)), checkpoint)
    config(keep_depth=False).dump(tmp_path / 'other.py')
    vit = ViT(arch=dict(embed_dims=8, num_layers=1, num_heads=1), in_channels=1, img_size=32)
    image = load_image(path, vit, 'native', **stored_decoding(checkpoint))
    np.testing.assert_array_equal(image[0, 0].float().numpy(), pixels)
    other = load_image(path, vit, 'native', **stored_decoding(checkpoint, tmp_path / 'other.py'))
    assert other.dtype == torch.uint8
    for content in (dict(model={}), dict(meta=dict(cfg=None)), dict(meta=None)):
        torch.save(content, checkpoint)
        assert stored_decoding(checkpoint) == {}


def test_probes_read_as_the_run_does(scan):
    path, _ = scan
    loader, _ = labelled_loader(str(path.parents[1]), 32, channels=1, keep_depth=True)
    (batch,) = loader
    # Resized to 8/7 of the side and cut at the centre.
    assert batch['inputs'].float().max() > 3000
