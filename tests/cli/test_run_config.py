"""Values and folders given on the command line."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.structures import BaseDataElement

from mae_plugin.cli.run_config import (
    parse_value,
    set_precision,
    user_errors,
)
from mae_plugin.datasets import ImageFolder, stack_collate
from mae_plugin.datasets.bad_images import BadImages
from mae_plugin.engine.accumulation import scale_for_accumulation


@pytest.mark.parametrize(
    'text, value',
    [
        ('3', 3),
        ('1.5e-4', 1.5e-4),
        ('True', True),
        ('false', False),
        ('none', None),
        ('None', None),
        ('(160,96)', (160, 96)),
        ('[1.0,2]', [1.0, 2]),
        ("dict(type='X')", "dict(type='X')"),
        ("{'type':'X','n':[1]}", dict(type='X', n=[1])),
        ('base', 'base'),
        ('1,2,3', (1, 2, 3)),
        ('a,b', ['a', 'b']),
        ('work_dirs/run-1', 'work_dirs/run-1'),
        ('', ''),
    ],
)
def test_values(text, value):
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    'precision, expected',
    [
        ('bfloat16', dict(type='mae_plugin.BFloat16OptimWrapper')),
        (
            'float16',
            dict(type='mae_plugin.AmpOptimWrapper', dtype='float16', loss_scale='dynamic'),
        ),
        ('float32', dict(type='mae_plugin.OptimWrapper')),
    ],
)
def test_precision(precision, expected):
    wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=512, optimizer=dict(lr=1))
    cfg = Config(dict(optim_wrapper=wrapper))
    set_precision(cfg, precision)
    assert cfg.optim_wrapper == ConfigDict(expected, optimizer=dict(lr=1))


def test_accumulation_counts_for_the_learning_rate():
    def base(**changes):
        cfg = Config(
            dict(
                optim_wrapper=dict(accumulative_counts=4),
                auto_scale_lr=dict(enable=True, base_batch_size=4096),
            )
        )
        cfg.merge_from_dict(changes)
        scale_for_accumulation(cfg)
        return cfg.auto_scale_lr.base_batch_size

    assert base() == 1024
    assert base(**{'auto_scale_lr.enable': False}) == 4096
    assert base(**{'optim_wrapper.accumulative_counts': 1}) == 4096


def raise_ours():
    from mae_plugin.models.masking import RandomMasking

    return RandomMasking(7)


class Raises(torch.utils.data.Dataset):
    """Calls a function in the worker."""

    def __init__(self, call):
        self.call = call

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.call()


def from_worker(call):
    """What a loader's user sees of an error in a worker."""
    for _ in torch.utils.data.DataLoader(Raises(call), num_workers=1):
        pass


def raise_too_many():
    counter = BadImages(max_share=0, min_count=1)
    counter.begin(0)
    counter.add('a.jpg', ValueError('empty file'))


def raise_under_another():
    try:
        raise_ours()
    except ValueError as error:
        raise type(error)(f'class `RandomMasking` in x.py: {error}')  # noqa: B904


def raise_with_pythons_own_beneath():
    from mae_plugin.checkpoint.stored_config import literal_config

    literal_config('a = open("x")')


def raise_missing_file():
    open_listed = ImageFolder('/nowhere/at/all')
    return open_listed[0]


@pytest.mark.slow
@pytest.mark.parametrize('run', [lambda call: call(), from_worker], ids=['here', 'in a worker'])
@pytest.mark.parametrize(
    'call, begins, part',
    [
        (raise_ours, 'mask_ratio=7 is outside [0, 1)', '0.75'),
        (raise_under_another, '', 'mask_ratio=7 is outside [0, 1)'),
        (raise_with_pythons_own_beneath, '', 'is not run'),
        (raise_too_many, '1 of the last 1 tries', 'a.jpg: empty file'),
        (raise_missing_file, '', '/nowhere/at/all'),
    ],
)
def test_errors_of_ours_are_told_in_one_line(capsys, run, call, begins, part):
    with pytest.raises(SystemExit) as stop, user_errors():
        run(call)
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f'error: {begins}') and part in line
    assert line.count('\n') == 1 and 'Traceback' not in line


def test_images_of_different_sizes_are_told_in_one_line_from_a_worker(capsys):
    """The size of each image is kept by a pipeline of the user's own."""

    def keep(number):
        packed = BaseDataElement(metainfo=dict(img_path=f'{number}.jpg'))
        return dict(inputs=torch.zeros(3, 8 + number, 8), data_samples=packed)

    with pytest.raises(SystemExit), user_errors():
        from_worker(lambda: stack_collate([keep(0), keep(1)]))
    line = capsys.readouterr().err
    assert line.startswith('error: 1.jpg gives (3, 9, 8)') and line.count('\n') == 1


@pytest.mark.slow
def test_errors_of_others_pass():
    with pytest.raises(RuntimeError, match='theirs'), user_errors():
        raise RuntimeError('theirs')
    with pytest.raises(ValueError, match='theirs'), user_errors():
        raise ValueError('theirs')
    with pytest.raises(ValueError, match='theirs'), user_errors():
        from_worker(lambda: int('theirs'))
