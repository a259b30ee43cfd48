"""What the documentation site is made of, without mkdocs; ``make docs`` builds it."""

import importlib
import sys
from pathlib import Path

import pytest

from mae_plugin.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def part(monkeypatch):
    """A function that imports a script of the site."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools/dev/docs_site'))
    return importlib.import_module


def test_every_command_is_in_the_reference(part, monkeypatch):
    monkeypatch.setenv('COLUMNS', '40')
    paths = sys.path.copy()
    page = part('command_page').command_page()
    for name in COMMANDS:
        _, _, section = page.partition(f'\n### mae-plugin {name}\n')
        assert f'usage: mae-plugin {name}' in section.partition('\n### ')[0], name
    assert '--data-root DIR' in page
    assert sys.path == paths


def test_every_module_that_people_use_is_in_the_api(part):
    pages = dict(part('api_pages').api_pages(ROOT / 'mae_plugin'))
    assert {'docs/api.md', 'docs/api/models.md', 'docs/api/base.md'} <= set(pages)
    text = '\n'.join(pages.values())
    for name in ('models.mae', 'models.dense.vit_backbone', 'checkpoint.load', 'errors'):
        assert f'::: mae_plugin.{name}\n' in text
    # Nothing of the command line, and nothing twice.
    modules = [line for line in text.splitlines() if line.startswith(':::')]
    assert len(modules) == len(set(modules)) and 'mae_plugin.cli' not in text
    folders = {path.parent for path in (ROOT / 'mae_plugin').rglob('*.py')}
    parts = {ROOT / 'mae_plugin' / folder for folder in part('api_pages').PARTS}
    commands = {folder for folder in folders if 'cli' in folder.parts}
    assert folders - commands == parts


def test_a_broken_link_or_anchor_is_found(part, tmp_path):
    (tmp_path / 'api').mkdir()
    (tmp_path / 'index.html').write_text(
        '<a href="api/">x</a><a href="api/#here">x</a><a href="https://a.b/c">x</a>'
        '<img src="p.png"><a href="api/#gone">x</a><a href="#top">x</a><a href="no.html">x</a>'
        '<b id="top"></b>'
    )
    (tmp_path / 'api/index.html').write_text('<h1 id="here">x</h1><a href="..">x</a>')
    (tmp_path / 'p.png').touch()
    broken = part('check_links').broken_links(tmp_path)
    assert broken == ['index.html: api/#gone', 'index.html: no.html']
