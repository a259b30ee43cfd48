"""Follow every link of the built site: ``python tools/dev/docs_site/check_links.py FOLDER``.

mkdocs looks at the links of pages; this looks at all that came out: the API's, the menu's,
pictures. Exit status 1 if a file or an anchor is missing; links to other sites are not followed.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Collects what a page links to, and the names in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ('href', 'src') and value:
                self.links.append(value)
            elif name in ('id', 'name') and value:
                self.names.add(value)


def broken_links(site: Path) -> list[str]:
    """Each as 'page: link'.

    Args:
        site: Folder of the built site.
    """
    pages = {
        path.resolve(): _Page(path.read_text(encoding='utf-8')) for path in site.rglob('*.html')
    }
    broken = []
    for path, page in pages.items():
        if path.name == '404.html':  # served at any depth: its links begin at the site's address
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            target = target / 'index.html' if target.is_dir() else target
            anchor = unquote(parts.fragment)
            known = pages[target].names if target in pages else None
            if not target.is_file() or (anchor and known is not None and anchor not in known):
                broken.append(f'{path.relative_to(site.resolve())}: {link}')
    return broken


def main() -> None:
    """Check the folder that the command line names."""
    if len(sys.argv) != 2:
        sys.exit('usage: python tools/dev/docs_site/check_links.py FOLDER')
    site = Path(sys.argv[1])
    if not (site / 'index.html').is_file():
        sys.exit(f'{site} holds no site: `make docs` builds one')
    broken = broken_links(site)
    print('\n'.join(broken[:20]) if broken else f'{site}: every link leads somewhere')
    sys.exit(bool(broken))


if __name__ == '__main__':
    main()
