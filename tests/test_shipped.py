"""Our configs by name, in our commands and in anyone's config."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

import mae_plugin
from mae_plugin.errors import UserError
from mae_plugin.shipped import config_names, config_path

ROOT = Path(mae_plugin.__file__).parents[1]


@pytest.mark.parametrize(
    'name',
    [
        'playground/mae_demo.py',
        'playground/mae_demo',
        'configs/playground/mae_demo.py',
        'mae_plugin::playground/mae_demo.py',
        'mae_demo.py',
        'mae_demo',
    ],
)
def test_a_config_by_any_of_its_names(name):
    assert Path(config_path(name)).samefile(ROOT / 'configs/playground/mae_demo.py')


@pytest.mark.parametrize(
    'name, told',
    [('mae_dmo', 'did you mean playground/mae_demo.py'), ('%%%', 'mae-plugin configs')],
)
def test_an_unknown_name_says_what_there_is(name, told):
    with pytest.raises(UserError, match=told):
        config_path(name)


def test_every_listed_config_has_a_model():
    names = config_names()
    assert 'mae_vit-b_pretrain.py' in names and not any('_base_' in name for name in names)


def test_a_config_anywhere_inherits_one_of_ours(tmp_path):
    child = tmp_path / 'mine.py'
    child.write_text(
        "_base_ = __import__('mae_plugin').config_path('pretrain/mae_vit-tiny-p16_8xb512-amp-"
        "coslr-400e_in1k')\ntrain_cfg = dict(max_epochs=3)\n"
    )
    cfg = Config.fromfile(child)
    assert cfg.train_cfg.max_epochs == 3 and cfg.model.backbone.arch == 'tiny'


@pytest.mark.parametrize('installed', [False, True])
def test_python_in_the_folder_above_a_clone_finds_the_package(tmp_path, installed):
    """Without our door the clone itself is imported, as an empty namespace package."""
    (tmp_path / 'mae_plugin').symlink_to(ROOT)
    code = (
        'import mae_plugin, mae_plugin.errors as e; '
        'print(mae_plugin.__version__, e.UserError.__name__, mae_plugin.config_path("mae_demo"))'
    )
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    if installed:
        environment['PYTHONPATH'] = str(ROOT)
    told = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f'{mae_plugin.__version__} UserError ')
