"""The report's words on whether a run still gets better."""

import numpy as np
import pytest

from mae_plugin.visualization.trends import trend, verdict


def series(values, noise=0.0, seed=0):
    values = np.asarray(values, float)
    rest = np.random.default_rng(seed).normal(0, noise, len(values))
    return list(zip(range(10, 10 * len(values) + 1, 10), values + rest))


FALLING, FLAT = np.linspace(1.0, 0.5, 40), np.full(40, 0.5)


@pytest.mark.parametrize(
    'values, noise, moves',
    [(FALLING, 0.01, True), (FLAT, 0.02, False), (FLAT, 0.0, False), (FALLING[:6], 0.0, True),
     (1 - FALLING, 0.01, True)],
)  # fmt: skip
def test_a_line_is_told_from_noise(values, noise, moves):
    found = [trend(series(values, noise, seed), 0.0025).moves for seed in range(20)]
    assert abs(np.mean(found) - moves) <= 0.1


def test_only_the_second_half_counts():
    line = trend(series([*FALLING, *FLAT]), 0.0025)
    assert not line.moves and line.end == pytest.approx(0.5)


@pytest.mark.parametrize(
    'scalars, words',
    [
        (dict(loss=FALLING), ('training loss still falls', 'Still getting better: training loss')),
        (dict(loss=FLAT), ('hardly moves any more', 'Nothing gets better any more')),
        ({'loss': FALLING, 'held_out/loss': 1 - FALLING}, ('still rises', 'overfit')),
        ({'loss': FALLING, 'probe/rank': FALLING * 50}, ('effective rank still falls', 'fewer')),
        ({'probe/rank': 50 - 20 * FALLING}, ('Still getting better: effective rank',)),
        ({'probe/knn': FLAT * 100, 'probe/linear': 90 - 40 * FALLING}, ('+9.7 points',)),
        (dict(loss=FALLING[:2]), ('too few values',)),
    ],
)  # fmt: skip
def test_sentences(scalars, words):
    told = ' '.join(verdict({name: series(values) for name, values in scalars.items()}))
    for each in words:
        assert each in told, told


def test_nothing_logged_says_nothing():
    assert verdict({}) == []
