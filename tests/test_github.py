"""The forms and the workflow for GitHub hold together; nothing here can run them."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def read(name):
    return yaml.safe_load((ROOT / '.github' / name).read_text(encoding='utf-8'))


def test_the_workflow_runs_ours_on_every_supported_python():
    job = read('workflows/ci.yml')['jobs']['test']
    (step,) = [step for step in job['steps'] if 'run' in step]
    script = step['run'].removeprefix('bash ')
    assert (ROOT / script).is_file() and step['env']['PYTHON'] == 'python'
    low, high = re.search(
        r'\(3, (\d+)\) <= sys.version_info\[:2\] <= \(3, (\d+)\)', (ROOT / 'Makefile').read_text()
    ).groups()
    supported = [f'3.{minor}' for minor in range(int(low), int(high) + 1)]
    assert job['strategy']['matrix']['python'] == supported


def test_the_workflow_keeps_what_the_build_keeps():
    (cache,) = [
        step['with']
        for step in read('workflows/ci.yml')['jobs']['test']['steps']
        if 'cache' in step.get('uses', '')
    ]
    for name in re.findall(r"'([\w/.]+)'", cache['key']):
        assert (ROOT / name).is_file(), name
    assert cache['path'] == '~/.cache/mae_plugin'


def test_forms_ask_for_what_we_need():
    for name in ('bug', 'feature'):
        form = read(f'ISSUE_TEMPLATE/{name}.yml')
        assert form['name'] and form['description']
        fields = [field for field in form['body'] if field['type'] != 'markdown']
        assert len({field['id'] for field in fields}) == len(fields)
        assert all(field['attributes']['label'] for field in fields)
    needed = [f['id'] for f in read('ISSUE_TEMPLATE/bug.yml')['body'] if f.get('validations')]
    assert needed == ['command', 'seen', 'doctor']
