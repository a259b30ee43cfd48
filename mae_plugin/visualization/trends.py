"""Whether what a run logs still moves, in words."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

Points = Sequence[tuple[float, float]]

MIN_POINTS = 3  # in the second half of the run


class Trend(NamedTuple):
    """A straight line through the second half of a series.

    Attributes:
        start, end: The line's ends.
        moves: Whether it rises or falls by more than its noise and the tolerance.
    """

    start: float
    end: float
    moves: bool

    @property
    def change(self) -> float:
        """From start to end."""
        return self.end - self.start


def trend(points: Points, tolerance: float) -> Trend | None:
    """Fit the second half of a series by least squares.

    Args:
        points: (iteration, value) in their order.
        tolerance: The least change that counts.

    Returns:
        None where there are fewer than :data:`MIN_POINTS` points.
    """
    kept = [(x, y) for x, y in points if np.isfinite(y)]
    if len(kept) < MIN_POINTS:
        return None
    half = (kept[0][0] + kept[-1][0]) / 2
    late = [point for point in kept if point[0] >= half]
    x, y = np.array(late if len(late) >= MIN_POINTS else kept[-MIN_POINTS:], float).T
    slope, base = np.polyfit(x - x.mean(), y, 1)
    spread = ((x - x.mean()) ** 2).sum()
    rest = y - base - slope * (x - x.mean())
    # Of the slope; with hardly any points it says little, and the tolerance decides.
    error = np.sqrt((rest**2).sum() / (len(x) - 2) / spread) if len(x) > 5 else 0.0
    start, end = (base + slope * (edge - x.mean()) for edge in (x[0], x[-1]))
    moves = abs(end - start) > max(tolerance, 2 * error * (x[-1] - x[0]))
    return Trend(float(start), float(end), bool(moves))


# Name in the log, what it is called, the least change that counts (a share, or points), whether
# it is a percentage, and whether it gets better by rising.
_SERIES = (
    ('loss', 'training loss', 0.005, False, False),
    ('held_out/loss', 'loss on held-out images', 0.005, False, False),
    ('probe/rank', 'effective rank', 0.01, False, True),
    ('probe/knn', 'kNN accuracy', 0.5, True, True),
    ('probe/linear', 'linear probe', 0.5, True, True),
)


def verdict(scalars: Mapping[str, Points]) -> list[str]:
    """Sentences on each series that is there, then one on what follows from them."""
    told, found = [], {}
    for key, name, least, is_percent, _ in _SERIES:
        points = scalars.get(key)
        if not points:
            continue
        last = points[-1][1]
        line = trend(points, least if is_percent else least * abs(last))
        if line is None:
            told.append(f'The {name} has too few values yet to tell.')
            continue
        found[key] = line
        told.append(f'The {name} {_words(line, is_percent)}')
    return [*told, _conclusion(found)] if found else told


def _words(line: Trend, is_percent: bool) -> str:
    change = (
        f'{line.change:+.1f} points'
        if is_percent
        else f'{line.change / max(abs(line.start), 1e-12):+.1%}'
    )
    if not line.moves:
        return f'hardly moves any more ({change} in the second half of the run).'
    way = 'rises' if line.change > 0 else 'falls'
    return f'still {way}: {line.start:.4g} to {line.end:.4g} ({change}) in the second half.'


def _conclusion(found: Mapping[str, Trend]) -> str:
    rising = {key for key, line in found.items() if line.moves and line.change > 0}
    falling = {key for key, line in found.items() if line.moves and line.change < 0}
    if 'held_out/loss' in rising and 'loss' not in rising:
        return (
            'The model begins to overfit: more images, or a smaller model, '
            'help more than more epochs.'
        )
    if 'probe/rank' in falling and not {'probe/knn', 'probe/linear'} & rising:
        return (
            'The features use fewer directions than before: compare an earlier checkpoint '
            '(tools/probe.py) before going on.'
        )
    better = [name for key, name, _, _, up in _SERIES if key in (rising if up else falling)]
    if better:
        return (
            f'Still getting better: {", ".join(better)}. A longer run may gain more; what falls '
            'with the learning rate at the end of a cosine is no sign of it.'
        )
    return 'Nothing gets better any more: a longer run of this recipe will change little.'
