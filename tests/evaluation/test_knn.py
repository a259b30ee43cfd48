"""kNN and the quick linear probe against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from mae_plugin.evaluation.knn import accuracy, knn_scores
from mae_plugin.evaluation.linear_probe import LinearProbe


@pytest.fixture(scope='module')
def clusters():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 16, generator=generator)
    labels = torch.randint(5, (300,), generator=generator)
    features = centres[labels] + 1.2 * torch.randn(300, 16, generator=generator)
    return features[:200], labels[:200], features[200:], labels[200:]


@pytest.mark.parametrize('k', [1, 7, 20, 1000])
def test_knn_equals_scikit_learn(clusters, k):
    train_x, train_y, test_x, test_y = clusters
    reference = KNeighborsClassifier(
        min(k, len(train_x)),
        metric='cosine',
        algorithm='brute',
        weights=lambda distance: np.exp((1 - distance) / 0.07),
    ).fit(train_x.double(), train_y)
    scores = knn_scores(train_x.double(), train_y, test_x.double(), 5, k, chunk_size=33)
    np.testing.assert_allclose(scores, reference.predict_proba(test_x.double()), atol=1e-9)
    expected = 100 * reference.score(test_x.double(), test_y)
    assert accuracy(scores, test_y) == pytest.approx(expected)


def test_knn_ignores_the_scale_of_features_and_keeps_unseen_classes(clusters):
    train_x, train_y, test_x, _ = clusters
    scores = knn_scores(train_x, train_y, test_x, 8)
    scaled = knn_scores(3 * train_x, train_y, 0.1 * test_x, 8)
    torch.testing.assert_close(scores, scaled)
    assert scores[:, 5:].abs().sum() == 0


@pytest.mark.parametrize('wrong', [dict(k=0), dict(temperature=0.0)])
def test_knn_refuses_nonsense(clusters, wrong):
    train_x, train_y, test_x, _ = clusters
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        knn_scores(train_x, train_y, test_x, 5, **wrong)
    with pytest.raises(ValueError, match='one label for each'):
        knn_scores(train_x, train_y[:-1], test_x, 5)


def test_linear_probe_equals_scikit_learn(clusters):
    train_x, train_y, test_x, _ = (tensor.double() for tensor in clusters)
    train_y = train_y.long()
    l2 = 1e-2
    probe = LinearProbe(l2=l2, max_iter=500).fit(train_x, train_y, 5)
    mean, std = train_x.mean(0), (train_x.var(0, unbiased=False) + 1e-6).sqrt()
    reference = LogisticRegression(C=1 / (l2 * len(train_x)), tol=1e-8, max_iter=1000)
    reference.fit((train_x - mean) / std, train_y)
    expected = torch.from_numpy(reference.predict_proba((test_x - mean) / std))
    torch.testing.assert_close(probe(test_x).softmax(1), expected, atol=1e-4, rtol=1e-3)


def test_linear_probe_is_deterministic_and_leaves_no_gradient(clusters):
    train_x, train_y, test_x, _ = clusters
    first, second = (LinearProbe().fit(train_x, train_y, 5)(test_x) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad


def test_linear_probe_refuses_labels_out_of_range(clusters):
    train_x, train_y, *_ = clusters
    with pytest.raises(ValueError, match='num_classes=3'):
        LinearProbe().fit(train_x, train_y, 3)
