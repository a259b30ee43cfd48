"""Labels by folders: every loader has the classes of training, whatever its split lacks."""

import pytest
import torch
from mmengine.config import Config

from mae_plugin.cli.class_folders import (
    follow_classes,
    refuse_hidden_classes,
    refuse_shifted_classes,
)
from mae_plugin.cli.data_root import set_data_root
from mae_plugin.datasets import ImageFolder
from mae_plugin.errors import UserError


def classifier(type='ImageFolder', **dataset):
    def loader(prefix):
        return dict(
            dataset=dict(type=type, data_root='data/imagenet', data_prefix=prefix, **dataset)
        )

    return Config(
        dict(
            model=dict(type='ImageClassifier', head=dict(num_classes=1000)),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
            test_dataloader=loader('val'),
        )
    )


def make(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / '1.jpg').write_bytes(b'x')
    return str(root)


def prepared(root, loaders=('train_dataloader', 'val_dataloader'), checkpoint=None, **options):
    cfg = classifier(**options)
    set_data_root(cfg, root, loaders)
    follow_classes(cfg, root, checkpoint)
    return cfg


def labels(dataset):
    built = ImageFolder(**{key: dataset[key] for key in dataset if key != 'type'}, labels=True)
    return built.classes, list(built.labels)


def test_a_class_that_validation_lacks_shifts_no_label(tmp_path):
    root = make(tmp_path, 'train/a', 'train/b', 'train/c', 'val/a', 'val/c')
    cfg = prepared(root, index_cache=False)
    assert cfg.model.head.num_classes == 3
    for loader, expected in ((cfg.train_dataloader, [0, 1, 2]), (cfg.val_dataloader, [0, 2])):
        assert labels(loader.dataset) == (('a', 'b', 'c'), expected)


def test_a_class_that_training_lacks_is_named(tmp_path):
    root = make(tmp_path, 'train/a', 'train/b', 'val/a', 'val/owl')
    with pytest.raises(UserError, match=r"val' has a folder 'owl', which is none of the 2"):
        labels(prepared(root, index_cache=False).val_dataloader.dataset)


@pytest.mark.parametrize('type', ['CustomDataset', 'ImageFolder'])
def test_validation_images_alone_tell_the_number_of_classes(tmp_path, type):
    root = make(tmp_path, 'val/a', 'val/b', 'val/c')
    cfg = prepared(root, ['test_dataloader'], type=type)
    assert cfg.model.head.num_classes == 3


def test_what_a_checkpoint_was_trained_on_tells_more(tmp_path):
    root = make(tmp_path / 'data', 'val/a', 'val/c')
    checkpoint = str(tmp_path / 'epoch_1.pth')
    meta = dict(dataset_meta=dict(classes=('a', 'b', 'c')))
    torch.save(dict(meta=meta, state_dict={}), checkpoint)
    cfg = prepared(root, ['test_dataloader'], checkpoint, index_cache=False)
    assert cfg.model.head.num_classes == 3
    assert labels(cfg.test_dataloader.dataset) == (('a', 'b', 'c'), [0, 2])
    # The training images, where they are, go before it.
    make(tmp_path / 'data', 'train/a', 'train/c')
    cfg = prepared(root, ['test_dataloader'], checkpoint, index_cache=False)
    assert cfg.model.head.num_classes == 2
    assert labels(cfg.test_dataloader.dataset) == (('a', 'c'), [0, 1])
    torch.save(dict(state_dict={}), checkpoint)  # one that does not say it
    assert prepared(make(tmp_path / 'other', 'val/x'), ['test_dataloader'], checkpoint)


def test_hidden_class_folders_are_refused_where_mmpretrain_counts_them(tmp_path):
    root = make(tmp_path, 'train/cat', 'train/dog', 'val/.ipynb_checkpoints', 'val/cat', 'val/dog')
    for type in ('CustomDataset', 'ImageFolder'):
        cfg = prepared(root, type=type)
        refuse_hidden_classes(cfg, ['train_dataloader'])
        if type == 'ImageFolder':
            refuse_hidden_classes(cfg)
        else:
            with pytest.raises(UserError, match=r'val/\.ipynb_checkpoints is a hidden folder'):
                refuse_hidden_classes(cfg)


@pytest.mark.parametrize(
    ('val', 'message'),
    [
        (['a', 'c'], r"val has no folder 'b', which .*train has, and mmpretrain.CustomDataset"),
        (['a', 'b', 'c', 'owl'], r"val has a folder 'owl', which is no class of"),
        (['a', 'b', 'c'], None),
        (['a', 'b'], None),  # the last one missing shifts nothing
    ],
)
def test_labels_that_mmpretrain_would_shift_are_refused(tmp_path, val, message):
    root = make(tmp_path, 'train/a', 'train/b', 'train/c', *(f'val/{name}' for name in val))
    refuse_shifted_classes(prepared(root))
    cfg = prepared(root, type='mmpretrain.CustomDataset')
    refuse_shifted_classes(cfg, ['train_dataloader'])
    if message is None:
        refuse_shifted_classes(cfg)
    else:
        with pytest.raises(UserError, match=message):
            refuse_shifted_classes(cfg)
