"""mkdocs hooks: the site's pages are the repository's, at the paths that they have there.

``README.md``, the pages beside the configs and those of ``tools/dev`` are shown as they are, so
that each text exists once and its links work here and on a code host. Added while the site is
built: a page for each source file that a page links to, the command reference, and the API.
mkdocs.yml names this file.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from api_pages import api_pages  # noqa: E402
from command_page import command_page  # noqa: E402

# Pages beside those of docs/, as globs below the root.
PAGES = ('*.md', 'configs/**/*.md', 'tools/dev/**/*.md')
_LINK = re.compile(r'(?<=\]\()(?!\w+:|#)([^)#\s]+)(?=[#)])')
_LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.json': 'json', '.toml': 'toml'}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Lay out the site's files as the repository's, and add those that are made."""
    for file in list(files.documentation_pages()):
        files.remove(file)
    pages = {path.relative_to(ROOT).as_posix(): path for path in _pages()}
    for uri, path in pages.items():
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    for uri, content in (('docs/commands.md', command_page()), *api_pages(ROOT / 'mae_plugin')):
        files.append(File.generated(config, uri, content=content))
    for uri in sorted({link for page in pages for link in _linked(page)} - set(pages)):
        path = ROOT / uri
        if path.suffix in _LANGUAGES and path.is_file():
            files.append(File.generated(config, f'{uri}.md', content=_source_page(path, uri)))
        elif path.is_file() and files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to source files and folders lead to their pages."""

    def follow(match: re.Match[str]) -> str:
        uri = _resolve(page.file.src_uri, match[1])
        for suffix in ('.md', '/README.md'):
            if files.get_file_from_path(uri + suffix) is not None:
                return match[1].rstrip('/') + suffix
        return match[1]

    return _LINK.sub(follow, markdown)


def _pages() -> Iterator[Path]:
    yield from (ROOT / 'docs').glob('*.md')
    for pattern in PAGES:
        yield from ROOT.glob(pattern)


def _linked(page: str) -> Iterator[str]:
    for link in _LINK.findall((ROOT / page).read_text(encoding='utf-8')):
        yield _resolve(page, link)


def _resolve(page: str, link: str) -> str:
    """The path of a link's target below the root."""
    return os.path.normpath(PurePosixPath(page).parent / link)


def _source_page(path: Path, uri: str) -> str:
    text = path.read_text(encoding='utf-8')
    if '````' in text:
        raise PluginError(f'{uri} holds ````, which fences its page')
    head = f'---\ntitle: {path.name}\nsearch:\n  exclude: true\n---\n# {path.name}\n\n`{uri}`\n\n'
    return f'{head}````{_LANGUAGES[path.suffix]}\n{text}````\n'
