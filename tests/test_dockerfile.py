"""The Dockerfile names what exists: files, extras, arguments. Nothing here can build it."""

import importlib
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from pages import blocks

ROOT = Path(__file__).resolve().parents[1]
INSTRUCTIONS = {
    *('ARG', 'FROM', 'SHELL', 'ENV', 'RUN', 'COPY', 'USER', 'WORKDIR', 'ENTRYPOINT', 'CMD'),
}


@pytest.fixture(scope='module')
def steps():
    """Instruction and arguments of each, lines joined and comments left out."""
    text = re.sub(r'^#.*\n', '', (ROOT / 'Dockerfile').read_text(), flags=re.MULTILINE)
    lines = text.replace('\\\n', ' ').splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def arguments(steps):
    """Those that can be given, with their defaults."""
    return dict(value.partition('=')[::2] for name, value in steps if name == 'ARG')


def test_every_instruction_is_one(steps):
    assert {name for name, _ in steps} <= INSTRUCTIONS
    # An argument before FROM is for FROM alone.
    before = [value for name, value in steps[: [n for n, _ in steps].index('FROM')]]
    assert [value.partition('=')[0] for value in before] == ['BASE']


def test_every_argument_that_is_used_is_declared(steps):
    used = {each for _, value in steps for each in re.findall(r'\$\{(\w+)\}', value)}
    assert used == set(arguments(steps))


def test_extra_and_torch_are_those_of_the_project(steps, monkeypatch):
    given = arguments(steps)
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    setup_env = importlib.import_module('setup_env')
    assert given['TORCH'] == setup_env.TORCH
    setup = (ROOT / 'setup.py').read_text()
    assert f"'{given['EXTRA']}': FORKS" in setup


def test_what_the_installation_needs_is_copied():
    ignored = (ROOT / '.dockerignore').read_text().split()
    assert not {'mae_plugin', 'configs', 'tools', 'setup.py', 'README.md'} & set(ignored)


def test_commands_of_the_page_give_arguments_that_there_are(steps):
    code = '\n'.join(blocks('docs/installation.md', 'bash')).replace('\\\n', ' ')
    builds = [line for line in code.splitlines() if line.startswith('docker build')]
    assert len(builds) == 2
    for line in builds:
        words = shlex.split(line, comments=True)
        given = [b.partition('=')[0] for a, b in pairwise(words) if a == '--build-arg']
        assert set(given) <= set(arguments(steps)) and words[-1] == '.'
