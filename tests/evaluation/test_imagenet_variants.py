"""ImageNet's variants: folders say the class, and only the classes present compete."""

import pytest
import torch

from mae_plugin.evaluation import ImageNetVariantAccuracy
from mae_plugin.evaluation.imagenet_variants import ALEXNET_ERRORS, mean_corruption_error

CLASSES = ('n01', 'n02', 'n03', 'n04')


@pytest.fixture
def imagenet(tmp_path):
    for name in CLASSES:
        (tmp_path / 'val' / name).mkdir(parents=True)
    return str(tmp_path / 'val')


def evaluate(metric, rows):
    """Rows of (path, scores)."""
    samples = [
        dict(img_path=f'/data/{path}', pred_score=torch.tensor(scores)) for path, scores in rows
    ]
    metric.process({}, samples)
    return metric.compute_metrics(metric.results)


def test_only_the_variants_classes_compete(imagenet):
    rows = [
        ('n02/a.jpg', [0.9, 0.5, 0.0, 0.1]),  # n01 is best but not in the variant: right
        ('n04/b.jpg', [0.0, 0.6, 0.9, 0.3]),  # n03 neither; n02 beats n04: wrong
        ('n04/c.jpg', [0.0, 0.1, 0.9, 0.3]),
        ('n02/d.jpg', [0.0, 0.1, 0.9, 0.3]),
    ]
    assert evaluate(ImageNetVariantAccuracy(imagenet), rows) == dict(top1=50.0)


def test_corruption_error_is_relative_to_alexnet_for_each_corruption(imagenet):
    right, wrong = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]
    rows = [('fog/1/n01/a.jpg', right), ('fog/5/n01/a.jpg', wrong)]
    rows += [('snow/3/n01/a.jpg', wrong), ('snow/3/n02/b.jpg', wrong), ('blur/1/n02/c.jpg', right)]
    found = evaluate(ImageNetVariantAccuracy(imagenet, corruptions=True), rows)
    fog, snow = 0.5 / ALEXNET_ERRORS['fog'], 0.5 / ALEXNET_ERRORS['snow']
    assert found['mCE'] == pytest.approx(100 * (fog + snow) / 2)
    assert found['top1'] == pytest.approx(40.0)


def test_millions_of_corrupted_images_need_little_memory(imagenet):
    metric = ImageNetVariantAccuracy(imagenet, corruptions=True)
    evaluate(metric, [('fog/1/n01/a.jpg', [0.7, 0.1, 0.1, 0.1])] * 3)
    # A name that all share, and a truth value: no scores.
    assert metric.results == [('fog', True)] * 3
    assert len({id(name) for name, _ in metric.results}) == 1


def test_alexnet_itself_has_a_mean_corruption_error_of_100():
    assert len(ALEXNET_ERRORS) == 15
    names, right = [], []
    for name, error in ALEXNET_ERRORS.items():
        wrong = round(error * 1000)
        names += [name] * 1000
        right += [False] * wrong + [True] * (1000 - wrong)
    assert mean_corruption_error(names, torch.tensor(right)) == pytest.approx(100, abs=0.1)


def test_wrong_folders_are_named(imagenet, tmp_path):
    with pytest.raises(ValueError, match="nowhere' is no folder"):
        ImageNetVariantAccuracy('nowhere')
    with pytest.raises(ValueError, match='dog'):
        evaluate(ImageNetVariantAccuracy(imagenet), [('dog/a.jpg', [0.0] * 4)])
    with pytest.raises(ValueError, match=r'one of the 4 in.*has 3 classes'):
        evaluate(ImageNetVariantAccuracy(imagenet), [('n01/a.jpg', [0.0] * 3)])
    with pytest.raises(ValueError, match='gaussian_noise/3'):
        mean_corruption_error(['photo'], torch.tensor([True]))
