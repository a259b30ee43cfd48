"""What is checked before a release; all of it is run by ``make release-check``."""

import importlib.util
import sys
from pathlib import Path

import pytest

import mae_plugin

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools/dev/release_check.py'
    spec = importlib.util.spec_from_file_location('release_check', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_stands_in_one_place(tool):
    assert tool.read_version(ROOT / 'mae_plugin/__init__.py') == mae_plugin.__version__
    for name in ('setup.py', 'pyproject.toml', 'CITATION.cff', 'mkdocs.yml'):
        assert mae_plugin.__version__ not in (ROOT / name).read_text(), name


def test_changes_of_this_version_are_told(tool):
    tool.check_changes((ROOT / 'CHANGELOG.md').read_text(), mae_plugin.__version__)


@pytest.mark.parametrize(
    'changes, message',
    [
        ('# Changes\n\n## Unreleased\n\n- More.\n', 'begins with .Unreleased'),
        ('# Changes\n\n## 1.2\n\nNothing.\n\n## 1.1\n\n- More.\n', 'tells nothing of 1.2'),
        ('# Changes\n', "begins with ''"),
    ],
)
def test_other_changes_are_not_released(tool, changes, message):
    with pytest.raises(tool.ReleaseError, match=message):
        tool.check_changes(changes, '1.2')


def test_a_failing_command_ends_with_its_words(tool):
    with pytest.raises(tool.ReleaseError, match='no such thing'):
        tool.run([sys.executable, '-c', 'import sys; sys.exit("no such thing")'])


def test_commands_do_not_see_the_clone(tool, monkeypatch, tmp_path):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    code = 'import os; print(os.environ.get("PYTHONPATH"))'
    assert tool.run([sys.executable, '-c', code], tmp_path).strip() == 'None'


def test_what_is_no_version_is_told(tool, tmp_path):
    (tmp_path / 'x.py').write_text('version = 1\n')
    with pytest.raises(tool.ReleaseError, match='names no __version__'):
        tool.read_version(tmp_path / 'x.py')
