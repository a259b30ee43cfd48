"""Options of `tools/train.py`: precision, in OpenMMLab's order too."""

import sys

import pytest
from front_door import ROOT, tiny_config, train, write_images


@pytest.fixture
def parsed(monkeypatch):
    """What `tools/train.py` makes of some arguments."""

    def parse(*args):
        monkeypatch.syspath_prepend(str(ROOT / 'tools'))
        monkeypatch.setattr(sys, 'argv', ['tools/train.py', *args])
        import train as tool

        return tool.parse_args()

    return parse


@pytest.mark.parametrize(
    'args, amp',
    [
        (['a.py'], None),
        (['a.py', '--amp'], 'bfloat16'),
        (['--amp', 'a.py'], 'bfloat16'),
        (['--amp', 'configs/b.py', '--resume'], 'bfloat16'),
        (['--amp', 'float32', 'a.py'], 'float32'),
        (['--amp=float16', 'a.py'], 'float16'),
        (['a.py', '--amp', '--cfg-options', 'a=1'], 'bfloat16'),
    ],
)
def test_amp_takes_a_precision_or_none_on_either_side_of_the_config(parsed, args, amp):
    found = parsed(*args)
    assert found.amp == amp and found.config.endswith('.py')


def test_an_unknown_precision_names_the_known_ones(parsed, capsys):
    with pytest.raises(SystemExit):
        parsed('--amp', 'fp16', 'a.py')
    assert "'fp16'" in (error := capsys.readouterr().err) and 'float16' in error


@pytest.mark.parametrize(
    'args, options',
    [(['--amp', 'float16'], []), ([], ['optim_wrapper.type=AmpOptimWrapper'])],
    ids=['asked for', 'of the config'],
)
def test_float16_needs_a_gpu(monkeypatch, capsys, tmp_path, args, options):
    monkeypatch.setattr('mae_plugin.engine.runner.get_device', lambda: 'cpu')
    images = write_images(tmp_path / 'images', 2)
    with pytest.raises(SystemExit) as stop:
        train(
            monkeypatch, tiny_config(tmp_path / 'tiny.py'), images, tmp_path / 'run', *args,
            options=options,
        )  # fmt: skip
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if 'error' in line]
    assert line.startswith('error: float16 needs a GPU') and '--amp float32' in line


def test_a_run_in_float32_instead(monkeypatch, tmp_path):
    images = write_images(tmp_path / 'images', 2)
    options = ['optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.dtype=float16']
    train(
        monkeypatch, tiny_config(tmp_path / 'tiny.py'), images, tmp_path / 'run',
        '--amp', 'float32', options=options,
    )  # fmt: skip
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()
