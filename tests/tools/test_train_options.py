"""Options of runs: precision, in OpenMMLab's order too, and padding."""

import json
import sys

import pytest
from front_door import run_tool, tiny_config, train, write_images
from PIL import Image

from mae_plugin.cli.train import parse_args
from mae_plugin.visualization.reconstruction import GAP


@pytest.fixture
def parsed(monkeypatch):
    """What `tools/train.py` makes of some arguments."""

    def parse(*args):
        monkeypatch.setattr(sys, 'argv', ['tools/train.py', *args])
        return parse_args()

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


def test_float16_that_is_asked_for_needs_a_gpu(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
    images = write_images(tmp_path / 'images', 2)
    with pytest.raises(SystemExit) as stop:
        train(
            monkeypatch, tiny_config(tmp_path / 'tiny.py'), images, tmp_path / 'run',
            '--amp', 'float16',
        )  # fmt: skip
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if 'error' in line]
    assert line.startswith('error: --amp float16 needs a GPU') and '--amp float32' in line


@pytest.mark.slow
def test_float16_of_a_config_becomes_float32_on_a_cpu(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr('mae_plugin.engine.run_preparation.get_device', lambda: 'cpu')
    images = write_images(tmp_path / 'images', 2)
    options = ['optim_wrapper.type=AmpOptimWrapper', 'log_level=INFO']
    train(
        monkeypatch, tiny_config(tmp_path / 'tiny.py'), images, tmp_path / 'run', options=options
    )
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()
    assert "float16 needs a GPU, and the device here is 'cpu'" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_in_float32_instead(monkeypatch, tmp_path):
    images = write_images(tmp_path / 'images', 2)
    options = ['optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.dtype=float16']
    train(
        monkeypatch, tiny_config(tmp_path / 'tiny.py'), images, tmp_path / 'run',
        '--amp', 'float32', options=options,
    )  # fmt: skip
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()


@pytest.mark.slow
def test_images_padded_to_whole_patches(monkeypatch, tmp_path):
    images = write_images(tmp_path / 'images', 2)
    config = tiny_config(tmp_path / 'tiny.py', img_size=(20, 16))
    options = [
        'model.data_preprocessor.pad_size_divisor=4',
        'train_dataloader.dataset.pipeline.0.size=(18,14)',
        'test_dataloader.dataset.pipeline.0.size=(17,13)',
    ]
    train(monkeypatch, config, images, tmp_path / 'run', options=options)
    (picture,) = (tmp_path / 'run').glob('*/vis_data/vis_image/reconstruction_*.png')
    width, height = Image.open(picture).size
    assert width % (4 * 14 + 3 * GAP) == 0 and height % (2 * 18 + GAP) == 0
    run_tool(
        monkeypatch, 'test', config, tmp_path / 'run/epoch_1.pth', '--data-root', images,
        '--work-dir', tmp_path / 'test', '--cfg-options', *options, 'experiment_name=padded',
    )  # fmt: skip
    (result,) = (tmp_path / 'test').rglob('*.json')
    assert json.loads(result.read_text())['reconstruction/loss'] > 0


@pytest.mark.slow
@pytest.mark.parametrize('args, warned', [([], False), (['--amp', 'bfloat16'], True)])
def test_what_a_cpu_makes_of_precision_and_accumulation(
    monkeypatch, capsys, tmp_path, args, warned
):
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
    images = write_images(tmp_path / 'images', 4)
    options = ['optim_wrapper.accumulative_counts=2', 'auto_scale_lr.base_batch_size=32']
    options += ['auto_scale_lr.enable=True', 'log_level=INFO']
    config = tiny_config(tmp_path / 'tiny.py')
    train(monkeypatch, config, images, tmp_path / 'run', *args, options=options)
    out, err = capsys.readouterr()
    assert ('warning: --amp bfloat16: the device here (cpu)' in err) == warned
    line = 'batch 2 x 1 processes x 2 accumulated = 4 images a step, written for 32: scaled by 0.1'
    assert line in out + err
