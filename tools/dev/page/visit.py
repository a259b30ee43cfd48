"""What a visitor does on the page, in a browser, and how long it takes."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TABS = ('Reconstruct', 'Attention', 'Colours')
_WAIT = 60_000  # milliseconds


class PageError(RuntimeError):
    """Something on the page is not as it should be."""


class Visit:
    """One browser window on the page.

    Args:
        browser: Of Playwright.
        address: Of the page.
        width: Of the window, in pixels.
    """

    def __init__(self, browser: Any, address: str, width: int) -> None:
        self.page = browser.new_page(viewport=dict(width=width, height=900))
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        self.page.on('request', lambda request: self.hosts.add(request.url.split('/')[2]))
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector('input[type=file]', state='attached', timeout=_WAIT)

    def upload(self, path: Path) -> None:
        """Give a picture, and wait for what is made of it."""
        self.page.set_input_files('input[type=file]', path)
        for name in ('plain', 'masked'):
            self.page.wait_for_selector(f'#{name} img', timeout=_WAIT)
        self.settle()

    def refuse(self, path: Path) -> str:
        """Give a bad file; the message that appears.

        Raises:
            PageError: None appears.
        """
        from playwright.sync_api import TimeoutError

        self.page.set_input_files('input[type=file]', path)
        try:
            message = self.page.wait_for_selector('[data-testid=toast-text]', timeout=_WAIT)
        except TimeoutError:
            raise PageError(f'{path.name}: no message') from None
        words = ' '.join(message.inner_text().split())
        self.page.reload()
        self.page.wait_for_selector('input[type=file]', state='attached', timeout=_WAIT)
        return words

    def sources(self) -> list[str]:
        """Addresses of all pictures on the page, which change with what is in them."""
        return self.page.eval_on_selector_all('.picture img', 'all => all.map(one => one.src)')

    def settle(self) -> None:
        """Wait until no picture has changed for half a second."""
        seen, since = self.sources(), time.monotonic()
        while time.monotonic() - since < 0.5:
            self.page.wait_for_timeout(50)
            if (now := self.sources()) != seen:
                seen, since = now, time.monotonic()

    def slide(self, key: str) -> float:
        """Move the slider by a step, 'ArrowLeft' or 'ArrowRight'; seconds until all pictures show.

        All but the original: masked, and those of the decoder.
        """
        slider = self.page.locator('input[type=range]')
        slider.focus()
        before = self.page.eval_on_selector('#masked img', 'one => one.src')
        start = time.perf_counter()
        slider.press(key)
        self.page.wait_for_function(
            """before => {
                const shown = [...document.querySelectorAll('.picture img')];
                const masked = document.querySelector('#masked img');
                return masked && masked.src !== before && shown.every(one => one.complete);
            }""",
            arg=before,
            polling='raf',
            timeout=_WAIT,
        )
        return time.perf_counter() - start

    def click(self, name: str, across: float, down: float) -> None:
        """Click on a picture, at shares of its width and height, and wait for what follows."""
        picture = self.page.locator(f'#{name} img')
        before = picture.get_attribute('src')
        box = picture.bounding_box()
        place = dict(x=across * box['width'], y=down * box['height'])
        picture.click(position=place)
        self.page.wait_for_function(
            '([name, before]) => document.querySelector(`#${name} img`)?.src !== before',
            arg=[name, before],
            timeout=_WAIT,
        )
        self.settle()

    def tab(self, name: str) -> None:
        """Go to a tab."""
        self.page.get_by_role('tab', name=name).click()
        self.page.wait_for_timeout(300)

    def pixels(self, name: str) -> Any:
        """A picture as the browser has it, RGB."""
        from io import BytesIO

        import numpy as np
        from PIL import Image

        address = self.page.eval_on_selector(f'#{name} img', 'one => one.src')
        content = self.page.request.get(address).body()
        with Image.open(BytesIO(content)) as image:
            return np.asarray(image.convert('RGB'))

    def screenshot(self, path: Path) -> None:
        """The whole page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.page.evaluate('document.documentElement.scrollWidth - window.innerWidth')


def quantile(values: Sequence[float], share: float) -> float:
    """The value that a share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def require(holds: bool, otherwise: str) -> None:
    """Go on if it holds.

    Raises:
        PageError: It does not; with these words.
    """
    if not holds:
        raise PageError(otherwise)
