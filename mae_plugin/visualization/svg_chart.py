"""Line charts as small inline SVG: no script, no font, readable on a phone."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 14, 32  # margins around the plot
Points = Sequence[tuple[float, float]]


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that lie between two values."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def label(value: float) -> str:
    """A short number: 1.2k, 3M, 0.05, 1e-05."""
    for limit, unit in ((1e6, 'M'), (1e3, 'k')):
        if abs(value) >= limit:
            return f'{value / limit:.4g}{unit}'
    return f'{value:.3g}'


def line_chart(title: str, series: Mapping[str, Points], x_label: str = 'iteration') -> str:
    """An ``<svg>`` with one line for each series.

    Values that are not finite break no chart: they are left out and counted under it.

    Args:
        title: Shown above, and read out by screen readers.
        series: Points (x, y) of each line by its name; a single one needs no legend.
        x_label: What x counts.
    """
    kept = {
        name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()
    }
    lost = sum(map(len, series.values())) - sum(map(len, kept.values()))
    every = [point for points in kept.values() for point in points]
    if not every:
        return ''
    x_low, x_high = min(x for x, _ in every), max(x for x, _ in every)
    y_low, y_high = min(y for _, y in every), max(y for _, y in every)
    pad = (y_high - y_low) * 0.05 or abs(y_high) * 0.05 or 1.0
    y_low, y_high = y_low - pad, y_high + pad
    x_span = x_high - x_low or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / x_span * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for y in nice_ticks(y_low, y_high):
        down = place(x_low, y)[1]
        parts.append(f'<path class="grid" d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down + 4:.1f}" class="end">{label(y)}</text>')
    for x in nice_ticks(x_low, x_high, 4):
        across = place(x, y_low)[0]
        parts.append(
            f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 16}" class="mid">{label(x)}</text>'
        )
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" class="end">{escape(x_label)}</text>'
    )
    for index, (name, points) in enumerate(kept.items()):
        where = [place(x, y) for x, y in points]
        path = 'M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in where)
        parts.append(f'<path class="line c{index % 6}" d="{path}"/>' if len(where) > 1 else '')
        marks = where if len(where) <= 40 else where[-1:]
        for (x, y), (step, value) in zip(marks, points[-len(marks) :]):
            parts.append(
                f'<circle class="dot c{index % 6}" cx="{x:.1f}" cy="{y:.1f}" r="2.5">'
                f'<title>{escape(name)}: {value:.5g} at {step:g}</title></circle>'
            )
    legend = ''
    if len(kept) > 1:
        names = (
            f'<span><i class="c{index % 6}"></i>{escape(name)}</span>'
            for index, name in enumerate(kept)
        )
        legend = f'<p class="legend">{"".join(names)}</p>'
    note = f'<p class="bad">{lost} values were not finite</p>' if lost else ''
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'{"".join(parts)}</svg>{legend}{note}</figure>'
    )
