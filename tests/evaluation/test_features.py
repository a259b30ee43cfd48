"""Frozen features: the unmasked encoder's own, of any checkpoint, scored on folders."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mae_plugin.evaluation import encoder
from mae_plugin.evaluation.encoder import load_encoder, patch_features, random_encoder
from mae_plugin.evaluation.features import (
    evaluate_folders,
    extract_features,
    labelled_loader,
)
from mae_plugin.models import MAE, ViT
from mae_plugin.models.preprocessor import MAEDataPreprocessor

ARCH = dict(embed_dims=24, num_layers=2, num_heads=3)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two classes that a random encoder tells apart; pictures of several sizes."""
    root = tmp_path_factory.mktemp('classes')
    rng = np.random.default_rng(0)
    for split, count in (('train', 9), ('val', 5)):
        for name, colour in (('green', (0, 200, 0)), ('red', (0, 0, 200))):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                noise = rng.integers(0, 55, (20 + index, 24, 3))
                path = root / split / name / f'{index}.png'
                cv2.imwrite(str(path), (noise + colour).astype(np.uint8))
    return root


@pytest.fixture
def vit():
    torch.manual_seed(0)
    vit = ViT(ARCH, img_size=16, patch_size=8, drop_path_rate=0.5)
    vit.init_weights()
    return vit


@pytest.mark.parametrize('pool', ['cls', 'avg'])
def test_features_are_the_encoders_without_masking_or_dropping(folder, vit, pool):
    loader, classes = labelled_loader(str(folder / 'val'), 16, batch_size=4)
    assert classes == ('green', 'red')
    preprocessor = MAEDataPreprocessor()
    vit.train()
    found = extract_features(vit, preprocessor, loader, pool)
    assert vit.training  # as it was
    vit.eval()
    images = torch.stack([loader.dataset[i]['inputs'] for i in range(10)])
    tokens = vit(preprocessor(dict(inputs=images))['inputs'])
    expected = tokens[:, 0] if pool == 'cls' else tokens[:, 1:].mean(1)
    torch.testing.assert_close(found.features, expected)
    assert found.labels.tolist() == [0] * 5 + [1] * 5


def test_folders_of_different_colours_are_told_apart(folder, vit):
    train, val = str(folder / 'train'), str(folder / 'val')
    scores = evaluate_folders(vit, MAEDataPreprocessor(), train, val, 16, k=3)
    assert scores == dict(knn=100.0, linear=100.0)


def test_fewer_images_are_spread_over_the_classes(folder):
    loader, _ = labelled_loader(str(folder / 'train'), 16, max_images=4)
    (batch,) = loader
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [0, 0, 1, 1]


def test_an_unlabelled_folder_is_refused(folder):
    with pytest.raises(ValueError, match='class folders'):
        labelled_loader(str(folder / 'train' / 'red'), 16)


def write_run(path, **statistics):
    """A checkpoint as a pretraining run leaves it: weights, and the config in its text."""
    model = dict(
        type='MAE',
        data_preprocessor=dict(type='MAEDataPreprocessor', **statistics),
        backbone=dict(type='ViT', arch=ARCH, img_size=(16, 32), patch_size=8),
        decoder=dict(
            type='MAEDecoder',
            in_dims=24,
            embed_dims=8,
            depth=1,
            num_heads=1,
            img_size=(16, 32),
            patch_size=8,
        ),
        head=dict(
            type='ReconstructionHead', in_dims=8, target=dict(type='PixelTarget', patch_size=8)
        ),
    )
    mae = MAE(**{key: value for key, value in model.items() if key != 'type'})
    mae.init_weights()
    meta = dict(cfg=Config(dict(model=model)).pretty_text)
    torch.save(dict(state_dict=mae.state_dict(), meta=meta), path)
    return mae


def test_a_run_gives_its_encoder_sizes_and_statistics(tmp_path):
    mae = write_run(tmp_path / 'epoch_1.pth', mean=[1, 2, 3], std=[4, 5, 6])
    vit, preprocessor = load_encoder(tmp_path / 'epoch_1.pth')
    assert vit.grid == (2, 4)
    assert preprocessor.mean.flatten().tolist() == [1, 2, 3]
    images = torch.randn(2, 3, 16, 32)
    torch.testing.assert_close(vit(images), mae(images))
    assert patch_features(vit, images).shape == (2, 2, 4, 24)


def test_a_run_with_the_preprocessors_own_statistics_needs_no_guess(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(encoder, 'log', said.append)
    write_run(tmp_path / 'epoch_1.pth')
    _, preprocessor = load_encoder(tmp_path / 'epoch_1.pth')
    assert preprocessor.mean[0, 0, 0, 0] == pytest.approx(123.675)
    assert said == []


def test_an_official_file_gives_its_encoder(tmp_path, vit):
    state = vit.state_dict() | {'decoder_embed.weight': torch.zeros(8, 24)}
    torch.save(dict(model=state), tmp_path / 'official.pth')
    loaded, preprocessor = load_encoder(tmp_path / 'official.pth', num_heads=3)
    assert loaded.grid == (2, 2)
    assert preprocessor.mean[0, 0, 0, 0] == pytest.approx(123.675)
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(loaded(images), vit.eval()(images))
    assert not any(p.requires_grad for p in loaded.parameters())


def test_heads_that_nothing_tells_are_asked_for(tmp_path, vit):
    """Two heads or three: the same weights, other features, and no error."""
    path = tmp_path / 'official.pth'
    torch.save(dict(model=vit.state_dict()), path)
    with pytest.raises(ValueError, match=r'width 24, 2 blocks.*--num-heads') as error:
        load_encoder(path)
    assert 'official.pth' in str(error.value)
    images = torch.randn(2, 3, 16, 16)
    other = load_encoder(path, num_heads=2)[0](images)
    assert not torch.allclose(other, vit.eval()(images), atol=1e-3)
    with pytest.raises(ValueError, match='num_heads=5'):
        load_encoder(path, num_heads=5)


def test_a_config_tells_heads_and_statistics(tmp_path, vit):
    torch.save(dict(model=vit.state_dict()), tmp_path / 'official.pth')
    config = tmp_path / 'tiny.py'
    config.write_text(
        f'model = dict(backbone=dict(arch={ARCH}),'
        ' data_preprocessor=dict(mean=[7] * 3, std=[2] * 3))'
    )
    loaded, preprocessor = load_encoder(tmp_path / 'official.pth', config=config)
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(loaded(images), vit.eval()(images))
    assert preprocessor.mean.flatten().tolist() == [7] * 3
    assert preprocessor.std.flatten().tolist() == [2] * 3
    with pytest.raises(ValueError, match=r"no config file 'typo\.py'"):
        load_encoder(tmp_path / 'official.pth', config='typo.py')
    config.write_text('lr = 1')
    with pytest.raises(ValueError, match='has no model'):
        load_encoder(tmp_path / 'official.pth', config=config)


def test_known_sizes_need_no_telling_under_any_toolboxs_name(tmp_path):
    """mmpretrain calls ViT-Ti 'deit-t'; its shapes are those of a known size."""
    tiny = ViT('tiny', img_size=16, patch_size=16)
    meta = dict(cfg="model = dict(backbone=dict(arch='deit-t'))")
    torch.save(dict(state_dict=tiny.state_dict(), meta=meta), tmp_path / 'tiny.pth')
    assert load_encoder(tmp_path / 'tiny.pth')[0].blocks[0].attn.num_heads == 3


def test_random_weights_keep_nothing_that_was_learned():
    torch.manual_seed(0)
    learned = ViT(ARCH, (16, 32), 8, in_channels=2, layer_scale_init=1.0, with_cls_token=False)
    for parameter in learned.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    fresh = random_encoder(learned)
    untrained = ViT(ARCH, (16, 32), 8, in_channels=2, with_cls_token=False)
    assert torch.equal(fresh.pos_embed, untrained.pos_embed)
    assert {name: p.shape for name, p in fresh.named_parameters()} == {
        name: p.shape for name, p in untrained.named_parameters()
    }
    assert not any((p == 0.5).all() for p in fresh.parameters())
    assert not fresh.training and fresh.blocks[0].attn.num_heads == 3
