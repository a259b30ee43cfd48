"""`--data-root`: what follows the folder, what is refused, what is told."""

import pytest
from mmengine.config import Config

from mae_plugin.cli.class_folders import follow_classes
from mae_plugin.cli.data_root import set_data_root
from mae_plugin.errors import UserError


def loaders(**dataset):
    dataset = dict(data_root='data/imagenet/', data_prefix='train', **dataset)
    return Config(
        dict(
            train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dataset)),
            test_dataloader=dict(dataset=dict(dataset, data_prefix='val')),
            val_dataloader=None,
            test_evaluator=dict(type='CocoMetric', ann_file='data/imagenet/val.json'),
        )
    )


def classifier(type='CustomDataset', **dataset):
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
    return str(root)


def test_any_folder_takes_the_place_of_the_data(tmp_path):
    cfg = loaders()
    set_data_root(cfg, str(tmp_path))
    train, test = cfg.train_dataloader.dataset.dataset, cfg.test_dataloader.dataset
    assert train.data_root == test.data_root == str(tmp_path)
    assert train.data_prefix == test.data_prefix == ''
    assert cfg.test_evaluator.ann_file == str(tmp_path / 'val.json')


def test_a_folder_of_the_known_layout_keeps_its_parts(tmp_path):
    (tmp_path / 'train').mkdir()
    cfg = loaders()
    set_data_root(cfg, str(tmp_path))
    assert cfg.train_dataloader.dataset.dataset.data_prefix == 'train'
    assert cfg.test_dataloader.dataset.data_prefix == ''


def test_paths_below_the_old_root_follow_in_hooks_evaluators_and_datasets(tmp_path):
    cfg = loaders(indices=['data/imagenet/list.txt'])
    cfg.custom_hooks = [
        dict(type='MonitorHook', train='data/imagenet/train', val='data/imagenet/val'),
        dict(type='ReconstructionHook', dataset=dict(data_root='data/imagenet/', labels=False)),
    ]
    cfg.default_hooks = dict(checkpoint=dict(out_dir='data/imagenet-2/out'))
    cfg.test_evaluator = [dict(imagenet_folders='./data/imagenet/val/', names=('data', 'top1'))]
    set_data_root(cfg, str(tmp_path))
    monitor, pictures = cfg.custom_hooks
    assert monitor.train == str(tmp_path / 'train') and monitor.val == str(tmp_path / 'val')
    assert pictures.dataset.data_root == str(tmp_path) and pictures.dataset.labels is False
    assert cfg.default_hooks.checkpoint.out_dir == 'data/imagenet-2/out'
    assert cfg.test_evaluator[0].imagenet_folders == str(tmp_path / 'val')
    assert tuple(cfg.test_evaluator[0].names) == ('data', 'top1')
    assert cfg.train_dataloader.dataset.dataset.indices == [str(tmp_path / 'list.txt')]


def test_a_folder_below_the_old_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cfg = loaders()
    cfg.custom_hooks = [dict(type='MonitorHook', train='data/imagenet/train')]
    set_data_root(cfg, 'data/imagenet/part')
    assert cfg.train_dataloader.dataset.dataset.data_root == 'data/imagenet/part'
    assert cfg.custom_hooks[0].train == 'data/imagenet/part/train'


@pytest.mark.parametrize('type', ['CustomDataset', 'mmpretrain.CustomDataset', 'ImageFolder'])
@pytest.mark.parametrize(
    'present, missing, loader, option',
    [
        ('train', 'val', 'val_dataloader', ', or --no-validate'),
        ('val', 'train', 'train_dataloader', ''),
    ],
)
def test_missing_class_folders_are_named(tmp_path, type, present, missing, loader, option):
    root = make(tmp_path, f'{present}/a', f'{present}/b', 'validation/a')
    with pytest.raises(ValueError) as error:
        set_data_root(classifier(type), root, ['train_dataloader', 'val_dataloader'])
    message = str(error.value)
    assert message.startswith(f'--data-root {root} has no folder {missing!r}')
    assert message.endswith(f'--cfg-options {loader}.dataset.data_prefix=NAME{option}')


def test_only_what_a_run_uses_must_be_there(tmp_path, capsys):
    root = make(tmp_path, 'train/a', 'train/b')
    cfg = classifier()
    set_data_root(cfg, root, ['train_dataloader'])
    follow_classes(cfg, root)
    assert cfg.model.head.num_classes == 2
    assert cfg.val_dataloader.dataset.data_prefix == 'val'
    with pytest.raises(ValueError, match='test_dataloader needs'):
        set_data_root(classifier(), root, ['test_dataloader'])
    set_data_root(classifier(ann_file='meta/val.txt'), root)
    set_data_root(classifier(with_label=False), root, ['train_dataloader'])
    assert not capsys.readouterr().err


def test_a_pretraining_test_on_everything_is_not_held_out(tmp_path, capsys):
    root = make(tmp_path, 'train')
    cfg = loaders(type='ImageFolder', labels=False)
    set_data_root(cfg, root, ['train_dataloader'])
    assert not capsys.readouterr().err
    set_data_root(cfg := loaders(type='ImageFolder', labels=False), root, ['test_dataloader'])
    line = capsys.readouterr().err
    assert line.startswith(f"warning: --data-root {root} has no folder 'val'")
    assert 'not held out' in line and cfg.test_dataloader.dataset.data_prefix == ''


@pytest.mark.parametrize('config', [loaders, classifier])
def test_a_file_is_no_folder(tmp_path, config):
    archive = tmp_path / 'photos.zip'
    archive.write_bytes(b'PK')
    with pytest.raises(UserError, match=r"photos\.zip' is a file.*unpack it"):
        set_data_root(config(), str(archive))
    shards = Config(dict(train_dataloader=dict(dataset=dict(type='ImageShards', shards='a.tar'))))
    (tmp_path / 'x.tar').write_bytes(b'')
    set_data_root(shards, str(tmp_path / 'x.tar'))
    assert shards.train_dataloader.dataset.shards == str(tmp_path / 'x.tar')
