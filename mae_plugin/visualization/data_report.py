"""One self-contained HTML page about a folder of images."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader

from mae_plugin.datasets.decoding.decode import ImageSource
from mae_plugin.datasets.decoding.encoded_image import BadImageError

from .charts import histogram

_THUMBS, _SIDE = 40, 160
_GROUPS, _ROWS = 12, 200


def render_data(
    name: str,
    facts: Mapping[str, str],
    sizes: Mapping[str, Sequence[int]],
    classes: Mapping[str, int],
    paths: Sequence[str],
    options: dict[str, Any],
    channels: int,
    bad: Sequence[tuple[str, str]],
    copies: Sequence[Sequence[str]],
    config: str,
) -> str:
    """The page as HTML; everything it shows is inside it.

    Args:
        name: Of the data.
        facts: The screen of the command.
        sizes: Values of a histogram by its title.
        classes: Images by class.
        paths: Of the usable images; some are shown.
        options: How they are decoded.
        channels: That the model gets.
        bad: Path and reason of the unusable ones.
        copies: Groups of the same picture.
        config: The config's text.
    """
    rng = np.random.default_rng(0)
    shown = sorted(rng.choice(len(paths), min(_THUMBS, len(paths)), replace=False))
    sheet = [(Path(paths[i]).name, thumbnail(paths[i], options, channels)) for i in shown]
    groups = [
        [(path, thumbnail(path, options, channels)) for path in group[:6]]
        for group in copies[:_GROUPS]
    ]
    charts = [histogram(title, values) for title, values in sizes.items()]
    pages = Environment(loader=PackageLoader('mae_plugin.visualization', '.'), autoescape=True)
    return pages.get_template('data_report.html.j2').render(
        name=name,
        facts=facts,
        charts=[chart for chart in charts if chart is not None],
        classes=dict(sorted(classes.items(), key=lambda item: -item[1])[:_ROWS]),
        sheet=[item for item in sheet if item[1]],
        groups=groups,
        left=max(0, len(copies) - _GROUPS),
        bad=bad[:_ROWS],
        more=max(0, len(bad) - _ROWS),
        config=config,
    )


def thumbnail(path: str, options: dict[str, Any], channels: int) -> str:
    """A small picture of a file as a data URI; '' if unreadable."""
    picture = small_picture(path, options, channels)
    return '' if picture is None else data_uri(picture)


def data_uri(picture: np.ndarray) -> str:
    """A uint8 (H, W, 3) RGB picture as a JPEG inside an address."""
    data = cv2.imencode('.jpg', np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()


def small_picture(
    path: str, options: dict[str, Any], channels: int, side: int = _SIDE
) -> np.ndarray | None:
    """A file as uint8 (H, W, 3) RGB, no side above ``side``; None if it is unreadable.

    Many bands and other depths are stretched to their own range.
    """
    try:
        image = ImageSource(path, channels, windows=True, **options)
        shorter = min(image.height, image.width)
        if image.max_scale > 1:
            pixels = image.convert(image.read(image.max_scale if shorter > 8 * side else 1))
        elif shorter > 4096:
            top, left = (image.height - 1024) // 2, (image.width - 1024) // 2
            pixels = image.convert(image.read_window(top, left, 1024, 1024, max_nodata=1.0))
        else:
            stored = image.read_window(0, 0, image.height, image.width, max_nodata=1.0)
            pixels = image.convert(stored)
    except (BadImageError, OSError):
        return None
    chosen = [3, 2, 1] if pixels.shape[2] > 3 else [0] * (3 if pixels.shape[2] < 3 else 0)
    pixels = pixels[..., chosen] if chosen else pixels
    if pixels.dtype != np.uint8:
        low, high = np.quantile(pixels, [0.02, 0.98])
        scaled = (pixels.astype(np.float64) - low) * (255 / max(high - low, 1e-12))
        pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    zoom = side / max(pixels.shape[:2])
    if zoom < 1:
        size = max(1, round(pixels.shape[1] * zoom)), max(1, round(pixels.shape[0] * zoom))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(pixels)
