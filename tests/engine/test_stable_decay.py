"""Warm-up, constant, decay: prolonged at any time, it is as if it had been planned so."""

import copy

import pytest
from mmengine.config import Config
from tiny_run import log_lines, tiny_config

from mae_plugin.engine.runner import build_runner

LENGTH = 5  # iterations to an epoch


def wsd(decay=0, by_iteration=True):
    end = dict(convert_to_iter_based=by_iteration)
    return [
        dict(type='LinearLR', start_factor=0.1, end=2, **end),
        dict(type='StableDecayLR', begin=2, decay=decay, **end),
    ]


def run(work_dir, name, epochs, schedule, resume=None):
    config = tiny_config(work_dir, epochs, param_scheduler=copy.deepcopy(schedule))
    runner = build_runner(Config(dict(config, experiment_name=name)), resume=resume)
    runner.train()
    return runner


def rates(work_dir):
    return [line['lr'] for _, line in sorted(log_lines(work_dir).items())]


@pytest.mark.slow
@pytest.mark.parametrize('by_iteration', [True, False])
def test_the_rate_is_that_of_the_formula(tmp_path, by_iteration):
    run(tmp_path, f'formula-{by_iteration}', 8, wsd(3, by_iteration))
    expected = []
    for iteration in range(8 * LENGTH):
        step, unit = (iteration, LENGTH) if by_iteration else (iteration // LENGTH, 1)
        warm = min(1.0, 0.1 + 0.9 * step / (2 * unit - 1))
        left = min(1.0, (8 * unit - step) / (3 * unit))
        expected.append(1e-2 * warm * left)
    assert rates(tmp_path) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_prolonged_twice_then_cooled_down(tmp_path):
    """From the end, from inside an epoch, and to the last loss as a run planned so."""
    planned = wsd(3)
    run(tmp_path / 'planned', 'planned', 10, planned)
    stable = wsd()
    work = tmp_path / 'prolonged'
    run(work, 'first', 4, stable)
    run(work, 'second', 6, stable, resume='auto')
    run(work, 'third', 9, stable, resume=str(work / 'iter_28.pth'))
    # Cooled down in a folder of its own, from before the end of the last one.
    cooled = tmp_path / 'cooled'
    runner = run(cooled, 'cooled', 10, planned, resume=str(work / 'iter_35.pth'))
    assert runner.iter == 10 * LENGTH

    expected = log_lines(tmp_path / 'planned')
    assert len(expected) == 10 * LENGTH
    together = log_lines(work)
    for step in range(1, 36):
        assert together[step] == expected[step]
    rest = log_lines(cooled)
    assert sorted(rest) == list(range(36, 51))
    assert all(rest[step] == expected[step] for step in rest)
    # The stable run itself goes on where it was.
    assert run(work, 'fourth', 11, stable, resume='auto').iter == 11 * LENGTH
    assert rates(work)[-1] == pytest.approx(1e-2)


@pytest.mark.slow
def test_what_cannot_be_prolonged(tmp_path):
    run(tmp_path, 'base', 6, wsd(2))
    with pytest.raises(ValueError, match=r'is 1.6 epochs into its cool-down.* after epoch 4:'):
        run(tmp_path, 'inside', 8, wsd(2), resume=str(tmp_path / 'iter_28.pth'))
    with pytest.raises(
        ValueError, match=r'to epoch 6 would have begun before .* at epoch 4: '
    ) as error:
        run(tmp_path, 'late', 6, wsd(3), resume=str(tmp_path / 'iter_20.pth'))
    assert 'train_cfg.max_epochs=7' in str(error.value)
    # As it says; and the same run goes on inside its cool-down.
    assert (
        run(tmp_path / 'a', 'advised', 7, wsd(3), resume=str(tmp_path / 'iter_20.pth')).iter == 35
    )
    assert run(tmp_path / 'b', 'same', 6, wsd(2), resume=str(tmp_path / 'iter_28.pth')).iter == 30
    with pytest.raises(ValueError, match='cool-down of 25 iterations does not fit'):
        run(tmp_path / 'c', 'long', 6, wsd(5))


def test_a_cosine_stays_one(tmp_path):
    cosine = [wsd()[0], dict(type='CosineAnnealingLR', begin=2, convert_to_iter_based=True)]
    run(tmp_path, 'cosine', 4, cosine)
    with pytest.raises(ValueError, match='type'):
        run(tmp_path, 'other', 4, wsd(), resume=str(tmp_path / 'iter_15.pth'))
    with pytest.raises(ValueError, match='ends'):
        run(tmp_path, 'longer', 6, cosine, resume=str(tmp_path / 'iter_15.pth'))
