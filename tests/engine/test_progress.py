"""Lines of progress between those of the logger, by a clock of the test's."""

import re
from types import SimpleNamespace

import pytest
from tiny_run import build_runner, tiny_config

from mae_plugin.engine.hooks import ProgressHook, progress


@pytest.fixture
def told(tmp_path, monkeypatch):
    """The iterations at which a line was logged, and the lines; a look at the clock takes 10 s."""

    def run(interval, iterations=20, **hook):
        now = iter(range(0, 10_000, 10))
        clock = SimpleNamespace(monotonic=lambda: next(now))
        config = tiny_config(
            tmp_path,
            batch_size=1,
            epochs=1,
            train_dataloader__dataset=dict(type='TinyImages', length=iterations),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=interval), checkpoint=None),
            log_level='INFO',
        )
        runner = build_runner(config, tmp_path.name)
        runner.register_hook(ProgressHook(**hook))
        monkeypatch.setattr(progress, 'time', clock)
        runner.train()
        (log,) = tmp_path.glob('*/*.log')
        lines = re.findall(r'INFO - (Iteration (\d+) of .*)', log.read_text())
        return [int(number) for _, number in lines], [line for line, _ in lines]

    return run


def test_silences_double(told):
    numbers, lines = told(interval=100, patience=20, most=60)
    assert numbers == [2, 6, 12, 18]
    assert re.fullmatch(r'Iteration 6 of 20: loss [\d.]+, 10 s each, 0:02:20 left', lines[1])


def test_none_where_the_logger_speaks_often_enough(told):
    assert told(interval=2, patience=30)[0] == []


def test_a_line_of_the_logger_breaks_the_silence(told):
    assert told(interval=5, patience=30, most=30)[0] == [3, 8, 13, 18]
