"""Drive the page of ``tools/demo.py`` in Chromium, as a visitor with good and bad intentions.

    make page-check                                                # untrained models
    make page-check PAGE_ARGS='work_dirs/mae_demo/epoch_34.pth --picture photo.jpg'

Needs Debian's Chromium (apt-get install chromium); gradio and Playwright lie in ``.venv-page``.
At 1280 and 390 px: upload, slider, a patch by hand, attention of a patch, colours, and a second
checkpoint beside the first. Bad files must get a message, and nothing but the page may be
reached. Then the time from slider to pictures, of ViT-B. Screenshots go to ``work_dirs/page``.
Exit status 1 with one line if something is not as it should be.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from page.files import write_encoder, write_hostile, write_picture, write_run
from page.server import reach, serve
from page.visit import TABS, PageError, Visit, quantile, require

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = (1280, 390)
# Of a click: inside a patch, not where four meet.
PLACE = (0.53, 0.54)


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', nargs='?', help='a MAE; by default an untrained ViT-B')
    parser.add_argument('--picture', type=Path, help='shown on the screenshots')
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs/page')
    parser.add_argument('--moves', type=int, default=40, help='of the slider, to be timed')
    parser.add_argument('--chromium', default='/usr/bin/chromium')
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    try:
        with (
            tempfile.TemporaryDirectory(prefix='mae_plugin_page_') as name,
            sync_playwright() as p,
        ):
            folder = Path(name)
            # Debian's Chromium has no sandbox for root.
            browser = p.chromium.launch(executable_path=args.chromium, args=['--no-sandbox'])
            untrained = write_run(folder / 'vit-b.pth')
            picture = args.picture or write_picture(folder / 'picture.jpg')
            mae = args.checkpoint or untrained
            with serve(mae, write_encoder(folder / 'encoder.pth')) as address:
                for width in WIDTHS:
                    look_around(browser, address, width, picture, args.out)
                refuse(browser, address, write_hostile(folder / 'hostile'))
                reach(address, [str(Path(mae).resolve()), '/etc/passwd', str(picture.resolve())])
            with serve(mae) as address:
                for width in WIDTHS:
                    visit = Visit(browser, address, width)
                    visit.upload(picture)
                    visit.screenshot(args.out / f'one_{width}.png')
            with serve(untrained) as address:
                time_slider(browser, address, picture, args.moves)
            browser.close()
    except PageError as error:
        sys.exit(str(error))


def look_around(browser: Any, address: str, width: int, picture: Path, out: Path) -> None:
    """All that a visitor does, with two checkpoints.

    Raises:
        PageError: Something does not follow.
    """
    visit = Visit(browser, address, width)
    visit.screenshot(out / f'empty_{width}.png')
    visit.upload(picture)
    before = visit.pixels('masked')
    grey = (before == 127).all(-1).mean()
    for _ in range(5):
        visit.slide('ArrowLeft')
    visit.settle()
    less = (visit.pixels('masked') == 127).all(-1).mean()
    require(abs(grey - 0.75) < 0.05 and abs(less - 0.5) < 0.05, f'hidden: {grey:.2f}, {less:.2f}')
    before = visit.pixels('masked')
    visit.click('masked', *PLACE)
    changed = (visit.pixels('masked') != before).any(-1)
    height, across = changed.shape
    require(
        changed[int(PLACE[1] * height), int(PLACE[0] * across)] and 0 < changed.mean() < 0.02,
        f'a click changed {changed.mean():.1%} of the masked picture',
    )
    kind = visit.page.get_by_label('mask', exact=True).input_value()
    require(kind == 'by hand', f'after a click the mask is {kind!r}')
    visit.screenshot(out / f'{TABS[0].lower()}_{width}.png')
    visit.slide('ArrowRight')
    visit.settle()
    kind = visit.page.get_by_label('mask', exact=True).input_value()
    require(kind == 'random', f'after a move of the slider the mask is {kind!r}')
    visit.tab(TABS[1])
    visit.click('original', 0.4, 0.4)
    visit.screenshot(out / f'{TABS[1].lower()}_{width}.png')
    visit.tab(TABS[2])
    visit.settle()
    visit.screenshot(out / f'{TABS[2].lower()}_{width}.png')
    # Original, masked, two of the decoder; framed, two of each encoder; original, colours of each.
    pictures = len(visit.sources())
    require(pictures == 4 + 5 + 3, f'{pictures} pictures')
    require(visit.overflow() <= 0, f'at {width} px the page is {visit.overflow()} px too wide')
    require(visit.hosts <= {address.split('/')[2]}, f'it asks others: {visit.hosts}')
    require(not visit.errors, f'errors of its script: {visit.errors}')
    print(f'{width} px: upload, slider, a patch by hand, attention, colours, two checkpoints')
    visit.page.close()


def refuse(browser: Any, address: str, files: dict[str, Path]) -> None:
    """Upload what is no picture; each gets a message."""
    visit = Visit(browser, address, WIDTHS[0])
    for what, path in files.items():
        start = time.monotonic()
        words = visit.refuse(path)
        require(str(path.parent) not in words, f'{what}: the message has a folder: {words}')
        print(f'{what} ({time.monotonic() - start:.1f} s): {words}')
    visit.page.close()


def time_slider(browser: Any, address: str, picture: Path, moves: int) -> None:
    """From the slider's move to all pictures on the screen."""
    visit = Visit(browser, address, WIDTHS[0])
    visit.upload(picture)
    seconds = []
    for number in range(moves + 3):
        seconds.append(visit.slide('ArrowLeft' if number % 10 < 5 else 'ArrowRight'))
        visit.settle()
    seconds = seconds[3:]
    print(
        f'slider to pictures, ViT-B of full size, untrained, {os.cpu_count()} cores: '
        f'p50 {quantile(seconds, 0.5):.2f} s, p95 {quantile(seconds, 0.95):.2f} s of {moves} moves'
    )


if __name__ == '__main__':
    main()
