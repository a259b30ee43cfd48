"""Values and folders given on the command line."""

import pytest
from mmengine.config import Config, ConfigDict

from mae_plugin.run_config import (
    parse_value,
    scale_for_accumulation,
    set_precision,
    user_errors,
)


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
        ('float16', dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')),
        ('float32', dict(type='OptimWrapper')),
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


def test_our_error_is_found_under_what_others_wrapped_around_it(capsys):
    with pytest.raises(SystemExit) as stop, user_errors():
        try:
            raise_ours()
        except ValueError as error:
            raise ValueError(f'class `RandomMasking` in x.py: {error}')  # noqa: B904
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith('error: mask_ratio=7 is outside [0, 1)')


def test_our_error_counts_even_with_pythons_own_beneath_it(capsys):
    from mae_plugin.stored_config import literal_config

    with pytest.raises(SystemExit), user_errors():
        literal_config('a = open("x")')
    assert 'is not run' in capsys.readouterr().err


def test_too_many_bad_images_are_told_in_one_line_from_a_worker_too(capsys):
    from torch._utils import ExceptionWrapper

    from mae_plugin.datasets.bad_images import BadImages

    counter = BadImages(max_share=0, min_count=1)
    counter.begin(0)
    try:
        counter.add('a.jpg', ValueError('empty file'))
    except RuntimeError:
        caught = ExceptionWrapper(where='in DataLoader worker process 0')
    with pytest.raises(SystemExit) as stop, user_errors():
        caught.reraise()
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith('error: 1 of the last 1 images') and 'a.jpg: empty file' in line
    assert line.count('\n') == 1


def test_errors_of_others_pass():
    with pytest.raises(RuntimeError, match='theirs'), user_errors():
        raise RuntimeError('theirs')
    with pytest.raises(ValueError, match='theirs'), user_errors():
        raise ValueError('theirs')
