"""The table of environments says what was found, and wheels hold what commands need."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools' / 'dev'))

import environments
from matrix import broken, journey

ROOT = Path(__file__).parents[2]


def test_the_committed_table_is_that_of_the_committed_results():
    results = json.loads(environments.RESULTS.read_text(encoding='utf-8'))
    assert environments.TABLE.read_text(encoding='utf-8') == environments.table(results)
    assert environments.summary(results) in environments.PAGE.read_text(encoding='utf-8')


def test_an_environment_that_was_not_run_says_so():
    (row,) = [line for line in environments.table({}).splitlines() if line.startswith('| newest')]
    assert '| not run |' in row and '2.14.1' in row


@pytest.mark.slow
def test_a_wheel_holds_configs_tools_and_index(tmp_path):
    source = tmp_path / 'source'
    source.mkdir()
    files = subprocess.run(
        ['git', 'ls-files', '-z', 'mae_plugin', 'configs', 'tools', '*.py', '*.toml', '*.in',
         'model-index.yml', 'README.md'],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode().split('\0')  # fmt: skip
    for name in filter(None, files):
        if (ROOT / name).is_file() and not name.startswith('tests/'):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation']
    subprocess.run([*command, '-w', str(tmp_path), str(source)], check=True, timeout=200)
    (wheel,) = tmp_path.glob('*.whl')
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {name for name in names if name.startswith('mae_plugin/.mim/')}
    assert 'mae_plugin/.mim/model-index.yml' in shipped
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('*.py')}
    assert {f'mae_plugin/.mim/{name}' for name in configs} <= shipped
    tools = {f'mae_plugin/.mim/tools/{path.name}' for path in (ROOT / 'tools').glob('*.py')}
    assert tools <= shipped and not any('/tools/dev/' in name for name in shipped)


def command(folder, name, script):
    (folder / 'bin').mkdir(parents=True, exist_ok=True)
    path = folder / 'bin' / name
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)


@pytest.mark.parametrize(
    'script, told',
    [
        ('touch out; echo fine', 'done'),
        ('echo fine', 'FAILED: no out'),
        ('touch out; echo first; echo the reason >&2; exit 3', 'FAILED: the reason'),
    ],
)
def test_a_step_tells_what_came_of_it(tmp_path, script, told):
    command(tmp_path, 'mae-plugin', script)
    step = journey.Step('a step', 'mae-plugin do', leaves='out')
    found = journey._take(tmp_path, tmp_path, step, step.command, tmp_path / 'log')
    assert (found['told'], found['command']) == (told, 'mae-plugin do')


def test_a_broken_environment_is_asked_mended_and_asked_again(tmp_path):
    whole = tmp_path / 'whole'
    said = "echo 'torch   2.0'; echo; echo 'torch is broken'; echo '    touch ../whole'; exit 1"
    command(tmp_path, 'mae-plugin', f'[ -e {whole} ] && exit 0; {said}')
    found = broken._treat(tmp_path, broken.Case('a case', f'rm -f {whole}'), tmp_path / 'log')
    assert found['says'] == 'torch is broken' and found['command'] == 'touch ../whole'
    assert found['then'].startswith('all fits')


def test_files_that_import_a_missing_host_are_found():
    found = {path.name for path in environments.files_that_import(('mmdet', 'mmcv.ops'))}
    assert {'test_detection.py', 'test_feature_pyramid.py'} <= found
    assert not found & {'test_segmentation.py', 'test_mae.py'}
    assert environments.files_that_import(()) == []
