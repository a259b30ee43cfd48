"""Line charts as SVG for a page, drawn by matplotlib."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

Points = Sequence[tuple[float, float]]
# Legible on white and on black.
_COLORS = ('#3b82f6', '#e0812a', '#2e9d63', '#b45bb4', '#a07f4a', '#888888')
_GREY = '#7d8590'
_STYLE: dict[Any, Any] = {
    'axes.edgecolor': _GREY,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'font.size': 9,
    'svg.fonttype': 'none',  # text stays text, in the page's font
    'text.color': _GREY,
    'xtick.color': _GREY,
    'ytick.color': _GREY,
}


class Chart(NamedTuple):
    """One chart of a page.

    Attributes:
        title: What it shows.
        svg: The ``<svg>`` element.
        lost: Values left out since they are not finite.
    """

    title: str
    svg: str
    lost: int


def line_chart(
    title: str, series: Mapping[str, Points], x_label: str = 'iteration'
) -> Chart | None:
    """Draw one line for each series; None if there is no finite value.

    Args:
        title: What it shows; makes the ids inside the SVG its own.
        series: Points (x, y) of each line by its name; a single one needs no legend.
        x_label: What x counts.
    """
    kept = {
        name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()
    }
    lost = sum(map(len, series.values())) - sum(map(len, kept.values()))
    if not any(kept.values()):
        return None
    with matplotlib.rc_context({**_STYLE, 'svg.hashsalt': title}):
        figure = Figure(figsize=(4.4, 2.7), layout='constrained')
        axes = figure.add_subplot()
        for color, (name, points) in zip(_COLORS * len(kept), kept.items()):
            marker = 'o' if len(points) <= 40 else ''
            axes.plot(*zip(*points), color=color, label=name, marker=marker, markersize=3)
        axes.grid(axis='y', color=_GREY, alpha=0.25)
        axes.set_xlabel(x_label, color=_GREY)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=''))
        if len(kept) > 1:
            axes.legend(frameon=False, fontsize=8)
        return Chart(title, _svg(figure), lost)


def histogram(title: str, values: Sequence[float]) -> Chart | None:
    """Draw how often values occur; None if there are none.

    Args:
        title: What they are.
        values: Positive numbers; over more than two decades the axis is logarithmic.
    """
    if not len(values):
        return None
    low, high = min(values), max(values)
    with matplotlib.rc_context({**_STYLE, 'svg.hashsalt': title}):
        figure = Figure(figsize=(4.4, 2.7), layout='constrained')
        axes = figure.add_subplot()
        wide = low > 0 and high > 100 * low
        ends = (math.log10(low), math.log10(high)) if wide else (low, high)
        width = (ends[1] - ends[0]) / 40 or 1.0
        edges = [ends[0] + width * step for step in range(41)]
        axes.hist(values, [10**edge for edge in edges] if wide else edges, color=_COLORS[0])
        axes.set_xscale('log' if wide else 'linear')
        axes.set_ylabel('images', color=_GREY)
        axes.grid(axis='y', color=_GREY, alpha=0.25)
        return Chart(title, _svg(figure), 0)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={'Date': None})
    text = out.getvalue()
    return text[text.index('<svg') :]
