"""mmengine's pure-Python configs: a type is the class itself, in our tools as in mmengine's."""

import pytest
import torch
from front_door import train, write_images

from mae_plugin.cli.config_kinds import builds_hosts, builds_ours
from mae_plugin.cli.data_root import has_class_folders
from mae_plugin.datasets import ImageFolder
from mae_plugin.models import MAE

CONFIG = """
from mmengine.hooks import LoggerHook
from mmengine.optim import CosineAnnealingLR, OptimWrapper
from torch.optim import AdamW

from mae_plugin.datasets import ImageFolder, LoadRandomResizedCrop, PackInputs, StreamSampler
from mae_plugin.datasets.collate import stack_collate
from mae_plugin.engine import ResumableEpochLoop, ViTOptimWrapperConstructor
from mae_plugin.engine.hooks import CheckpointHook, ExactResumeHook, NonFiniteGuard
from mae_plugin.models import MAE, MAEDataPreprocessor, MAEDecoder, PixelTarget
from mae_plugin.models import RandomMasking, ReconstructionHead, ViT

shape = dict(img_size=16, patch_size=4)
model = dict(
    type=MAE,
    data_preprocessor=dict(type=MAEDataPreprocessor, mean=[100.0] * 3, std=[60.0] * 3),
    masking=dict(type=RandomMasking, mask_ratio=0.75),
    backbone=dict(type=ViT, arch=dict(embed_dims=16, num_layers=1, num_heads=2), **shape),
    decoder=dict(type=MAEDecoder, in_dims=16, embed_dims=16, depth=1, num_heads=2, **shape),
    head=dict(type=ReconstructionHead, in_dims=16, target=dict(type=PixelTarget, patch_size=4)),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type=StreamSampler),
    collate_fn=dict(type=stack_collate),
    dataset=dict(
        type=ImageFolder,
        data_root='none',
        labels=False,
        index_cache=False,
        pipeline=[dict(type=LoadRandomResizedCrop, size=16), dict(type=PackInputs)],
    ),
)
optim_wrapper = dict(
    type=OptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3),
    constructor=ViTOptimWrapperConstructor,
    paramwise_cfg=dict(decay_tokens=True),
)
param_scheduler = [dict(type=CosineAnnealingLR, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type=ResumableEpochLoop, max_epochs=2)
default_hooks = dict(
    checkpoint=dict(type=CheckpointHook, interval=1), logger=dict(type=LoggerHook, interval=1)
)
custom_hooks = [dict(type=ExactResumeHook), dict(type=NonFiniteGuard)]
"""


def test_a_run_and_its_resumption(monkeypatch, tmp_path):
    images = write_images(tmp_path / 'images', 4)
    config = tmp_path / 'pure.py'
    config.write_text(CONFIG)
    train(monkeypatch, config, images, tmp_path / 'run')
    whole = torch.load(tmp_path / 'run/epoch_2.pth', weights_only=True)
    assert whole['meta']['iter'] == 4
    train(monkeypatch, config, images, tmp_path / 'run', '--resume', tmp_path / 'run/epoch_1.pth')
    again = torch.load(tmp_path / 'run/epoch_2.pth', weights_only=True)
    for name, value in whole['state_dict'].items():
        assert torch.equal(value, again['state_dict'][name]), name


@pytest.mark.parametrize(
    'options, words',
    [
        (['model.backbone.in_channels=4'], "mean has 3 values, which differs from the encoder's"),
        (['param_scheduler.0.begin=9'], 'the CosineAnnealingLR of the learning rate begins after'),
    ],
)
def test_its_checks_are_made(monkeypatch, tmp_path, capsys, options, words):
    images = write_images(tmp_path / 'images', 4)
    config = tmp_path / 'pure.py'
    config.write_text(CONFIG)
    with pytest.raises(SystemExit) as left:
        train(monkeypatch, config, images, tmp_path / 'run', options=options)
    assert left.value.code == 2 and words in capsys.readouterr().err


class OwnFolder(ImageFolder):
    """Someone's own."""


def test_parts_of_a_config():
    for kind in ('ImageFolder', 'mae_plugin.ImageFolder', ImageFolder, OwnFolder):
        assert builds_ours('DATASETS', dict(type=kind), 'ImageFolder')
        assert has_class_folders(dict(model=dict(type='ImageClassifier')), dict(type=kind))
        assert not has_class_folders(dict(model=dict(type=MAE)), dict(type=kind))
    for kind in ('CocoDataset', 'mmpretrain.CustomDataset', object, None):
        assert not builds_ours('DATASETS', dict(type=kind), 'ImageFolder')
    from mmpretrain.datasets import ImageNet

    for kind in ('CustomDataset', 'mmpretrain.ImageNet', ImageNet):
        assert builds_hosts('mmpretrain.datasets', dict(type=kind), 'CustomDataset', 'ImageNet')
    for kind in ('CocoDataset', 'mmdet.CustomDataset', object, None):
        assert not builds_hosts('mmpretrain.datasets', dict(type=kind), 'CustomDataset')
