"""The command ``mae-plugin``: every tool, by its name, from any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

import mae_plugin
from mae_plugin.checkpoint import LAYOUTS
from mae_plugin.cli import export_checkpoint
from mae_plugin.cli import main as command
from mae_plugin.cli.completion import candidates
from mae_plugin.cli.main import COMMANDS, help_page
from mae_plugin.cli.tools import as_typed

ROOT = Path(mae_plugin.__file__).parents[1]


def run(monkeypatch, *arguments: str) -> int:
    """Exit status of the command."""
    monkeypatch.setattr(sys, 'argv', ['mae-plugin', *arguments])
    try:
        command.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_every_tool_for_users_is_a_command():
    scripts = {path.stem for path in (ROOT / 'tools').glob('*.py')} - {'setup_env'}
    named = {command.run for command in COMMANDS.values() if not callable(command.run)}
    assert scripts == {name.removesuffix('.py') for name in named}


def test_one_page_lists_all(monkeypatch, capsys):
    assert run(monkeypatch, '--help') == 0
    page = capsys.readouterr().out
    assert page.strip() == help_page().strip()
    assert all(f'  {name} ' in page for name in COMMANDS)


@pytest.mark.parametrize('name', COMMANDS)
def test_each_command_has_help_under_its_own_name(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    assert run(monkeypatch, name, '--help') == 0
    assert f'usage: mae-plugin {name}' in capsys.readouterr().out


def test_the_next_command_is_told_as_the_last_was_typed(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['mae-plugin inspect-data', 'photos'])
    assert as_typed('train') == 'mae-plugin train'
    monkeypatch.setattr(sys, 'argv', ['tools/inspect_data.py', 'photos'])
    assert as_typed('train') == 'python tools/train.py'


HELP_OF_ALL = """
import sys
from mae_plugin.cli.main import COMMANDS, main
for name in COMMANDS:
    sys.argv = ['mae-plugin', name, '--help']
    try:
        main()
    except SystemExit:
        pass
    if 'torch' in sys.modules:
        sys.exit(f'{name} --help imports torch')
"""


def test_no_commands_help_waits_for_torch():
    done = subprocess.run(
        [sys.executable, '-c', HELP_OF_ALL], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]


def test_the_layouts_of_exports_are_those_that_there_are():
    assert tuple(LAYOUTS) == export_checkpoint.LAYOUTS


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    assert run(monkeypatch, 'trian') == 2
    assert capsys.readouterr().err == "error: no command 'trian': `mae-plugin --help` lists all\n"


def test_a_copied_config_inherits(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, 'copy-config', 'mae_demo', 'mine.py') == 0
    ours = Config.fromfile(ROOT / 'configs/playground/mae_demo.py')
    assert Config.fromfile('mine.py').to_dict() == ours.to_dict()
    assert run(monkeypatch, 'copy-config', 'mae_demo', 'mine.py') == 2
    assert 'exists already' in capsys.readouterr().err


def test_shells_complete_commands_configs_and_options():
    assert set(candidates(['tr'], COMMANDS)) == set(COMMANDS)
    assert 'playground/mae_demo.py' in candidates(['train', ''], COMMANDS)
    assert {'--resume', '--data-root'} <= set(candidates(['train', 'x.py', '--'], COMMANDS))
    assert candidates(['nothing', ''], COMMANDS) == []


def test_bash_completes(tmp_path):
    (tmp_path / 'mae-plugin').write_text(f'#!/bin/sh\nexec {sys.executable} -m mae_plugin "$@"\n')
    (tmp_path / 'mae-plugin').chmod(0o755)
    script = """
    eval "$(mae-plugin completion bash)"
    COMP_WORDS=(mae-plugin vis); COMP_CWORD=1; _mae_plugin; echo "${COMPREPLY[@]}"
    """
    told = subprocess.run(
        ['bash', '-c', script], capture_output=True, text=True,
        env=dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    assert told.stdout.strip() == 'visualize', told.stderr
