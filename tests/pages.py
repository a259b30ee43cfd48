"""The pages that people read: what is in them, for the tests."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# As tools/dev/docs_site/hooks.py has them, which needs mkdocs to be imported.
PATTERNS = ('*.md', 'docs/*.md', 'configs/**/*.md', 'tools/dev/**/*.md')
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding='utf-8')


def blocks(page: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return [body for kind, body in _FENCE.findall(text_of(page)) if kind == language]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub('', text_of(page))


def spans(page: str) -> list[str]:
    """Inline code."""
    return [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', prose(page))]


def links(page: str) -> list[str]:
    """Targets of links and pictures below the root; other sites' are left out."""
    found = re.findall(r'\]\(([^()\s]+)\)', re.sub(r'`[^`]*`', '', prose(page)))
    return [link for link in found if not re.match(r'\w+:', link)]


def anchors(page: str) -> set[str]:
    """Names of the headings, as code hosts and the site make them."""
    names: set[str] = set()
    for heading in re.findall(r'^#+ (.+)$', prose(page), re.MULTILINE):
        plain = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading).lower()
        names.add(re.sub(r'[\s]', '-', re.sub(r'[^\w\s-]', '', plain).strip()))
    return names
