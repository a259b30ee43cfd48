"""`--data-root A B C`: each folder as if it were alone, all of them together."""

import pytest
from mmengine.config import Config

from mae_plugin.cli.data_root import LOADERS
from mae_plugin.cli.data_roots import config_first, set_data_roots
from mae_plugin.errors import UserError


def config(**dataset):
    dataset = dict(type='ImageFolder', data_root='data/', pipeline=[dict(type='X')], **dataset)
    return Config(
        dict(
            model=dict(type='MAE'),
            train_dataloader=dict(dataset=dict(dataset, data_prefix='train')),
            test_dataloader=dict(dataset=dict(dataset, data_prefix='val')),
        )
    )


def test_each_folder_keeps_its_own_layout(tmp_path):
    (tmp_path / 'a' / 'train').mkdir(parents=True)
    (tmp_path / 'b').mkdir()
    roots = [str(tmp_path / name) for name in 'ab']
    cfg = config()
    set_data_roots(cfg, roots, ['train_dataloader'])
    joined = cfg.train_dataloader.dataset
    assert joined.type == 'mae_plugin.ConcatDataset'
    assert [(part.data_root, part.data_prefix) for part in joined.datasets] == [
        (roots[0], 'train'),
        (roots[1], ''),
    ]
    assert [part.data_root for part in cfg.test_dataloader.dataset.datasets] == roots


def test_inside_a_wrapper(tmp_path):
    cfg = config()
    cfg.train_dataloader.dataset = dict(type='Repeat', dataset=cfg.train_dataloader.dataset)
    set_data_roots(cfg, [str(tmp_path), str(tmp_path)], LOADERS)
    assert cfg.train_dataloader.dataset.type == 'Repeat'
    assert len(cfg.train_dataloader.dataset.dataset.datasets) == 2


@pytest.mark.parametrize('dataset', [dict(type='CocoDataset'), dict(type='CustomDataset')])
def test_labelled_images_are_not_joined(tmp_path, dataset):
    cfg = config()
    cfg.train_dataloader.dataset.update(dataset)
    with pytest.raises(UserError, match=r'for pretraining.*below one folder'):
        set_data_roots(cfg, [str(tmp_path), 'b'], LOADERS)


def test_the_config_may_come_after_the_folder(tmp_path):
    folder, other = str(tmp_path), str(tmp_path / 'other')
    (tmp_path / 'other').mkdir()
    given = ['--data-root', folder, other, 'my_config', '--amp']
    assert config_first(given) == ['my_config', '--data-root', folder, other, '--amp']
    for same in (
        ['my_config', '--data-root', folder, other],
        ['my_config', '--data-root', folder, 'missing'],
        ['--data-root', folder, '--amp', 'my_config'],
        ['--amp', 'my_config'],
    ):
        assert config_first(same) == same
