"""The effective rank against its formula, by SciPy's entropy and NumPy's singular values."""

import numpy as np
import pytest
import scipy.stats
import torch

from mae_plugin.evaluation.neighbours import nearest
from mae_plugin.evaluation.rankme import effective_rank


def with_spectrum(values, rows=40, columns=24, seed=0):
    """A matrix of these singular values."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(rows, len(values))))
    right, _ = np.linalg.qr(rng.normal(size=(columns, len(values))))
    return torch.from_numpy((left * values) @ right.T)


@pytest.mark.parametrize('shape', [(50, 20), (20, 50), (7, 7)])
def test_the_formula(shape):
    features = np.random.default_rng(1).normal(2.0, 1.0, shape)
    values = np.linalg.svd(features, compute_uv=False)
    expected = np.exp(scipy.stats.entropy(values / values.sum() + 1e-7))
    assert effective_rank(torch.from_numpy(features)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('rank', [1, 5, 24])
def test_equal_directions_are_counted(rank):
    assert effective_rank(with_spectrum(np.full(rank, 3.0))) == pytest.approx(rank, rel=1e-3)


def test_a_geometric_spectrum_in_closed_form():
    """Halves: 1/2, 1/4, ... has an entropy of 2 log 2."""
    rank = effective_rank(with_spectrum(0.5 ** np.arange(24)))
    assert rank == pytest.approx(4.0, rel=1e-3)


def test_scale_does_not_matter_but_the_mean_does():
    features = with_spectrum(np.linspace(1, 2, 24))
    assert effective_rank(features * 100) == pytest.approx(effective_rank(features))
    assert effective_rank(features + 10) < effective_rank(features) / 2


def test_neighbours_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, generator=generator) * torch.rand(30, 1, generator=generator)
    ids, scores = nearest(features + 100, [4, 0, 29], 6)  # what all share does not matter
    features = features - features.mean(dim=0)
    for query, found, values in zip((4, 0, 29), ids.tolist(), scores.tolist()):
        cosine = {
            other: torch.cosine_similarity(features[query], features[other], dim=0).item()
            for other in range(30) if other != query
        }  # fmt: skip
        assert found == sorted(cosine, key=cosine.get, reverse=True)[:6]
        assert values == pytest.approx([cosine[other] for other in found], abs=1e-4)
    assert nearest(features[:3], [1], 6)[0].shape == (1, 2)
