"""What the pages name exists: links, files, options, commands. The site itself: ``make docs``."""

import argparse
import os
import re
import runpy
import shlex
import sys

import pytest
import yaml
from pages import PAGES, ROOT, anchors, blocks, links, spans, text_of

from mae_plugin.checkpoint import LAYOUTS
from mae_plugin.checkpoint.layouts import FORMATS
from mae_plugin.cli import main as command
from mae_plugin.cli.completion import help_of

# Made while the site is built.
MADE = {'docs/commands.md', 'docs/api.md'}
# Of other programs: pip, git, docker, sbatch, torchrun.
FOREIGN_OPTIONS = {
    *('--no-build-isolation', '--no-binary', '--no-cache-dir', '--force-reinstall', '--no-deps'),
    *('--nproc-per-node', '--requeue', '--signal', '--wrap', '--gpus'),
    *('--build-arg', '--extra-index-url'),
}
FOREIGN_COMMANDS = {'.', 'cd', 'export', 'git', 'mim', 'pip', 'sbatch', 'docker', '...'} | {
    *('mlflow', 'tensorboard'),
}
# Shell scripts that hand their arguments on: the tool, and where its arguments stand.
SCRIPTS = {
    'tools/dist_train.sh': ('train', lambda a: [a[0], *a[2:]]),
    'tools/dist_test.sh': ('test', lambda a: [*a[:2], *a[3:]]),
    'tools/slurm_train.sh': ('train', lambda a: [a[2], '--work-dir', a[3], *a[4:]]),
}


def commands(page: str) -> list[list[str]]:
    """The words of each command in a page's blocks, and of those in its text."""
    code = '\n'.join(blocks(page, 'bash')).replace('\\\n', ' ')
    lines = code.splitlines()
    for span in spans(page):
        if re.match(r'(python \S+\.py|mae-plugin \S+|make \S+)$', span):
            lines.append(span if span.startswith('make') else f'{span} --help')  # a name alone
        elif re.match(r'(python \S+\.py|mae-plugin|make) \S', span):
            lines.append(span)
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words:
            end = next((i for i, word in enumerate(words) if word in ('&&', '|')), len(words))
            found.append(words[:end])
            words = words[end + 1 :]
    return [each for words in map(without_variables, found) if words for each in choices(words)]


def choices(words: list[str]) -> list[list[str]]:
    """`data|train` stands for a command with each of them."""
    for i, word in enumerate(words):
        if re.fullmatch(r'\w+(\|\w+)+', word):
            return [[*words[:i], each, *words[i + 1 :]] for each in word.split('|')]
    return [words]


def without_variables(words: list[str]) -> list[str]:
    start = next((i for i, w in enumerate(words) if not re.match(r'[A-Z_]+=', w)), len(words))
    return words[start:]


class Parsed(BaseException):
    """A real parser took the words."""


@pytest.fixture
def parse(monkeypatch, capsys):
    """A function that hands words to the parser of the command that they name."""
    real = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, args=None, namespace=None):
        real(self, args, namespace)
        raise Parsed

    def run(words: list[str]) -> None:
        monkeypatch.setattr(sys, 'argv', [words[0], *words[1:]])
        folder = os.path.dirname(str(ROOT / words[0]))
        monkeypatch.setattr(sys, 'path', [folder, *sys.path])
        try:
            if words[0] == 'mae-plugin':
                command.main()
            else:
                runpy.run_path(str(ROOT / words[0]), run_name='__main__')
        except Parsed:
            return
        except SystemExit as end:
            assert end.code in (None, 0), f'{words}: {capsys.readouterr().err}'

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
    return run


def test_there_are_pages():
    assert {'README.md', 'docs/first_run.md', 'configs/pretrain/README.md'} <= set(PAGES)


@pytest.mark.parametrize('page', PAGES)
def test_every_link_and_anchor_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition('#')
        target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if target in MADE:
            continue
        assert (ROOT / target).exists(), link
        if anchor:
            assert anchor in anchors(target), f'{link}: {sorted(anchors(target))}'


@pytest.mark.parametrize('page', PAGES)
def test_every_file_that_is_named_exists(page):
    words = {word for line in spans(page) + blocks(page, 'bash') for word in line.split()}
    for word in words:
        named = re.fullmatch(r'"?((?:configs|tools|mae_plugin|tests|docs)/[\w./*-]*\w)"?', word)
        if named and not list(ROOT.glob(named[1])):
            beside = ROOT / os.path.dirname(page) / named[1]
            assert beside.exists(), word


def test_every_option_that_is_named_exists(monkeypatch):
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    helps = [help_of(name, each.run) for name, each in command.COMMANDS.items()]
    known = set(re.findall(r'--[\w-]+', ' '.join(helps))) | FOREIGN_OPTIONS | {'--version'}
    for path in (ROOT / 'tools').rglob('*.py'):
        known |= set(re.findall(r"'(--[\w-]+)'", path.read_text()))
    for page in PAGES:
        named = set(re.findall(r'(?<![\w-])--[a-z][\w-]*', ' '.join(spans(page))))
        assert named <= known, f'{page}: {sorted(named - known)}'


@pytest.mark.parametrize('page', [page for page in PAGES if commands(page)])
def test_every_command_is_taken_by_its_own_parser(page, parse):
    targets = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    for words in commands(page):
        name, arguments = words[0], words[1:]
        if name in FOREIGN_COMMANDS or name.startswith(('$', 'PYTHONPATH')):
            continue
        if name == 'make':
            assert arguments[0] in targets, words
        elif name in SCRIPTS:
            tool, order = SCRIPTS[name]
            if '...' not in arguments:
                parse([f'tools/{tool}.py', *order(arguments)])
        elif name.startswith('tools/') and name.endswith('.sh'):
            assert (ROOT / name).is_file(), words
        elif 'python' in name:
            if arguments[0].endswith('.py'):
                parse(arguments)
        else:
            assert name == 'mae-plugin', f'{page}: a command of what? {words}'
            parse(words)


def test_a_command_with_a_wrong_option_is_found(parse):
    with pytest.raises(AssertionError, match='--no-such'):
        parse(['tools/train.py', 'CONFIG', '--no-such'])
    with pytest.raises(AssertionError):
        parse(['mae-plugin', 'trian'])


def test_the_site_has_every_page_of_docs():
    class Loader(yaml.SafeLoader):
        """Reads mkdocs.yml, tags of Python left aside."""

    site = yaml.load((ROOT / 'mkdocs.yml').read_text(), Loader)
    named = set(re.findall(r'[\w/.-]+\.md', str(site['nav'])))
    assert {page for page in PAGES if page.startswith('docs/')} | MADE <= named
    assert named <= set(PAGES) | MADE


def test_the_checkpoint_page_names_every_layout():
    page = text_of('docs/checkpoints.md')
    assert [form.name for form in FORMATS if f'`{form.name}`' not in page] == []
    assert [name for name in LAYOUTS if f'`{name}`' not in page] == []
