"""Fewer labelled images than a batch: the batch shrinks, in every task, and nobody is refused."""

import pytest
from dense_scenes import CLASSES, CONFIGS, write_ade, write_coco
from front_door import train, write_images

LOADER = 'train_dataloader.'


def detection(root):
    """Five scenes, and a config of eight that drops what makes no whole batch."""
    write_coco(root, 5)
    options = [f'{LOADER}dataset.metainfo.classes={list(CLASSES)}'.replace(' ', '')]
    options += [f'{LOADER}dataset.ann_file=annotations/instances_train2017.json']
    options += [f'{LOADER}dataset.data_prefix.img=train2017/']
    return 'mask-rcnn_playground.py', [*options, 'train_cfg.max_epochs=2']


def segmentation(root):
    write_ade(root, 5)
    options = [f'{LOADER}dataset.data_prefix.img_path=images/training']
    options += [f'{LOADER}dataset.data_prefix.seg_map_path=annotations/training']
    options += [f'{LOADER}dataset.img_suffix=.jpg', 'train_cfg.max_epochs=2']
    return 'upernet_playground.py', options


def classification(root):
    for name in 'ab':
        write_images(root / 'train' / name, 3, ending='.png')
    return 'finetune_classes.py', ['train_cfg.max_epochs=2']


@pytest.mark.slow
@pytest.mark.parametrize('task, batch', [(detection, 2), (segmentation, 2), (classification, 3)])
def test_a_run_of_few_images(monkeypatch, capsys, tmp_path, task, batch):
    config, options = task(tmp_path / 'data')
    train(
        monkeypatch, CONFIGS / 'playground' / config, tmp_path / 'data', tmp_path / 'run',
        '--no-validate', options=[*options, f'{LOADER}num_workers=0'],
    )  # fmt: skip
    out = capsys.readouterr().out
    assert f' - Batch {batch} (config: ' in out and 'could not be tried' not in out
    assert (tmp_path / 'run' / 'epoch_2.pth').exists()


def test_a_batch_of_the_user_s_that_no_epoch_has(monkeypatch, capsys, tmp_path):
    config, options = classification(tmp_path / 'data')
    with pytest.raises(SystemExit) as stop:
        train(
            monkeypatch, CONFIGS / 'playground' / config, tmp_path / 'data', tmp_path / 'run',
            '--no-validate', '--batch-size', '7', options=[*options, f'{LOADER}num_workers=0'],
        )  # fmt: skip
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if 'error' in line]
    assert '6 images' in line and '7' in line and '--batch-size' in line
