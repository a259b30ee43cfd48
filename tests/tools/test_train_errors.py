"""Bad input ends in one line that names the value and the way out, before any worker starts."""

import multiprocessing
import os
import subprocess
import sys

import pytest
from front_door import ROOT, run_tool, tiny_config, train, write_images
from mmengine.runner import Runner

BACKBONE = 'model.backbone.'
SIZE = 'train_dataloader.dataset.pipeline.0.size='
ERRORS = {
    'height not divisible': (
        [SIZE + '(18,16)'],
        ['image of 18x16 is not divisible by patch_size=4', '`size` to (16, 16)'],
    ),
    'image smaller than a patch': (
        [SIZE + '3'],
        ['image of 3x3 is smaller than one patch of 4x4', 'larger images'],
    ),
    'img_size not divisible': (
        [BACKBONE + 'img_size=18'],
        ['image of 18x18 is not divisible by patch_size=4'],
    ),
    'height and width swapped': (
        [BACKBONE + 'img_size=(16,32)', 'model.decoder.img_size=(16,32)', SIZE + '(32,16)'],
        ['size=(32, 16)', 'img_size=(16, 32)', 'both are (height, width)'],
    ),
    'height and width swapped in the decoder': (
        [BACKBONE + 'img_size=(16,32)', 'model.decoder.img_size=(32,16)', SIZE + '(16,32)'],
        ["decoder's img_size=(32, 16)", "encoder's (16, 32)"],
    ),
    'a misspelt argument': (
        ['model.masking.mask_ratoi=0.5'],
        ['RandomMasking takes no mask_ratoi: it takes mask_ratio'],
    ),
    'channels of the images': (
        ['train_dataloader.dataset.pipeline.0.channels=4'],
        ['LoadRandomResizedCrop gives 4 channels', 'in_channels=3', '`channels`'],
    ),
    'mask_ratio of 1': (
        ['model.masking.mask_ratio=1.0'],
        ['mask_ratio=1.0 is outside [0, 1)', '0.75'],
    ),
    'nothing masked': (
        ['model.masking.mask_ratio=0.0'],
        ['mask_ratio=0.0 masks no patch of a 4x4 grid', "loss_on='all'"],
    ),
    'nothing kept': (
        ['model.masking.mask_ratio=0.99'],
        ['mask_ratio=0.99 keeps none of the 16 patches', 'lower it'],
    ),
    'mask_ratio below 0': (['model.masking.mask_ratio=-0.5'], ['mask_ratio=-0.5 is outside']),
    'unknown arch': (
        [BACKBONE + 'arch=giant'],
        ["unknown arch 'giant'", 'tiny, small, base, large, huge'],
    ),
    'mean of the wrong length': (
        ['model.data_preprocessor.mean=[1.0,2.0]'],
        ['mean has 2 values and std 3'],
    ),
    'mean and std of the wrong length': (
        ['model.data_preprocessor.mean=[1.0]', 'model.data_preprocessor.std=[1.0]'],
        ['mean has 1 values', 'in_channels=3'],
    ),
    'patch sizes that differ': (
        ['model.head.target.patch_size=8'],
        ["the target's patch_size=8 differs from the encoder's 4"],
    ),
    'training shorter than the warm-up': (
        ['param_scheduler.0.begin=5', 'train_cfg.max_epochs=3'],
        ['train_cfg.max_epochs=3', 'begins after epoch 5', 'param_scheduler.0.begin=1'],
    ),
    'no batch accumulated': (
        ['optim_wrapper.accumulative_counts=0'],
        ['optim_wrapper.accumulative_counts=0 must be', '1 makes a step of each'],
    ),
    'options without a value': (
        ['train_cfg.max_epochs'],
        ["'train_cfg.max_epochs' is not KEY=VA"],
    ),
    'an option inside a number': (
        ['train_cfg.max_epochs.x=1'],
        ["--cfg-options 'train_cfg.max_epochs.x=1'", 'max_epochs'],
    ),
    'an index past the end': (
        ['train_dataloader.dataset.pipeline.7.size=16'],
        ["--cfg-options 'train_dataloader.dataset.pipeline.7.size=16'", '7'],
    ),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('data') / 'images')


@pytest.fixture
def fails(monkeypatch, tmp_path, capsys):
    """Train with bad input; give the only line of the error."""

    def run(images, *args, options=(), **config):
        path = tiny_config(tmp_path / 'tiny.py', **config)
        workers = ('train_dataloader.num_workers=1', *options)
        with pytest.raises(SystemExit) as stop:
            train(monkeypatch, path, images, tmp_path / 'run', *args, options=workers)
        assert stop.value.code == 2
        assert not multiprocessing.active_children()
        lines = [line for line in capsys.readouterr().err.splitlines() if 'error' in line.lower()]
        assert len(lines) == 1 and lines[0].startswith('error: ')
        return lines[0]

    return run


@pytest.mark.slow
@pytest.mark.parametrize('case', ERRORS)
def test_bad_options(fails, data, case):
    options, parts = ERRORS[case]
    line = fails(data, options=options)
    for part in parts:
        assert part in line


def test_missing_data(fails, tmp_path):
    line = fails(tmp_path / 'nowhere')
    assert 'nowhere' in line and '--data-root' in line and 'make demo' in line


def test_empty_folder(fails, tmp_path):
    (tmp_path / 'empty').mkdir()
    line = fails(tmp_path / 'empty')
    assert 'empty' in line and 'no image' in line and '--data-root' in line


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 1])
def test_images_of_other_channels(fails, data, workers):
    options = [f'train_dataloader.num_workers={workers}']
    line = fails(data, options=options, channels=12)
    assert 'image has 3 channels, but 12 are asked for; set channels=3' in line
    assert line.startswith('error: 20 of the last') and 'bad_images.txt' in line


def test_nothing_to_resume(fails, data, tmp_path):
    line = fails(data, '--resume', tmp_path / 'gone.pth')
    assert 'gone.pth' in line and '--resume auto' in line


def test_resume_and_pretrained_contradict(fails, data):
    line = fails(data, '--resume', '--pretrained', 'some.pth')
    assert '--resume' in line and '--pretrained' in line


def test_missing_pretrained_is_told_before_anything_is_built(fails, data, tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, 'from_cfg', None)
    line = fails(data, '--pretrained', tmp_path / 'gone.pth')
    assert '--pretrained' in line and 'gone.pth: no such file' in line


def test_auto_scale_lr_without_a_base(fails, data):
    line = fails(data, '--auto-scale-lr', extra='auto_scale_lr = None')
    assert '--auto-scale-lr' in line and 'base_batch_size' in line


@pytest.mark.slow
def test_resume_auto_with_nothing_there_starts(monkeypatch, data, tmp_path, recwarn):
    config = tiny_config(tmp_path / 'tiny.py')
    train(monkeypatch, config, data, tmp_path / 'run', '--resume')
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()
    assert not [warning for warning in recwarn if 'pin_memory' in str(warning.message)]


@pytest.mark.parametrize(
    'args, parts',
    [
        (['configs/nothing.py'], ["no config file 'configs/nothing.py'", 'mae-plugin configs']),
        (['configs/_base_/default_runtime.py'], ['model', 'configs/_base_/default_runtime.py']),
    ],
)
def test_configs_that_cannot_be_trained(monkeypatch, capsys, args, parts):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, 'train', *args)
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and line.startswith('error: ') and '\n' not in line
    assert all(part in line for part in parts)


# Its dataset numbers every folder; ours leaves hidden ones out.
MMPRETRAIN = ['--cfg-options', 'train_dataloader.dataset.type=CustomDataset']


@pytest.mark.parametrize(
    'tool, args, parts',
    [
        ('train', [], ["no folder 'val'", 'val_dataloader.dataset.data_prefix=NAME', '--no-val']),
        ('train', [*MMPRETRAIN, '--no-validate'], ['train/.git is a hidden folder']),
        ('test', ['some.pth'], ["no folder 'val'", 'test_dataloader.dataset.data_prefix=NAME']),
    ],
)
def test_class_folders_that_are_not_there_or_hidden(
    monkeypatch, capsys, tmp_path, tool, args, parts
):
    for name in ('a', 'b', '.git'):
        (tmp_path / 'train' / name).mkdir(parents=True)
    config = ROOT / 'configs/classification/finetune_vit-b_mae_100e_folder.py'
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, tool, config, *args, '--data-root', tmp_path)
    line = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and line.startswith('error: ') and '\n' not in line
    assert all(part in line for part in parts)


def test_a_pretraining_test_without_held_out_images_says_so(monkeypatch, capsys, tmp_path):
    config = tiny_config(tmp_path / 'tiny.py')
    images = write_images(tmp_path / 'images', 1)
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, 'test', config, 'gone.pth', '--data-root', images)
    assert capsys.readouterr().err.startswith(f"warning: --data-root {images} has no folder 'val'")


def test_errors_of_testing_and_drawing(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = tiny_config(tmp_path / 'tiny.py')
    photo = write_images(tmp_path / 'images', 1) / 'image0.png'
    (tmp_path / 'empty.pth').touch()
    for tool, args, part in (
        ('test', [config, 'gone.pth', '--data-root', tmp_path / 'images'], 'gone.pth'),
        ('visualize', ['gone.pth', photo], 'gone.pth'),
        ('visualize', ['empty.pth', photo], 'empty.pth is empty'),
        ('visualize', ['empty.pth', 'gone.jpg'], "no image file 'gone.jpg'"),
    ):
        with pytest.raises(SystemExit) as stop:
            run_tool(monkeypatch, tool, *args)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert stop.value.code == 2 and error.startswith('error: ') and part in error


@pytest.mark.slow
def test_errors_of_others_keep_their_traceback(monkeypatch, data, tmp_path):
    config = tiny_config(
        tmp_path / 'tiny.py', extra='custom_hooks = [dict(type="IterTimerHook", x=1)]'
    )
    with pytest.raises(TypeError):
        train(monkeypatch, config, data, tmp_path / 'run')


@pytest.fixture(scope='module')
def poisoned(tmp_path_factory):
    """A folder whose torch, mmengine and numpy cannot be imported."""
    folder = tmp_path_factory.mktemp('poison')
    for name in ('torch', 'mmengine', 'numpy', 'cv2'):
        (folder / f'{name}.py').write_text(f'raise SystemExit("{name} was imported")')
    return folder


@pytest.mark.parametrize('tool', ['train', 'test', 'visualize'])
def test_help_needs_no_heavy_library(poisoned, tool, tmp_path):
    environment = dict(os.environ, PYTHONPATH=str(poisoned))
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / f'{tool}.py', '--help'],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'usage' in done.stdout and 'python tools/' in done.stdout
