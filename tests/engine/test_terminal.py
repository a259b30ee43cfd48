"""The terminal shows what matters, the log file everything, and nothing stays behind."""

import logging
import sys
import warnings
from pathlib import Path

import mmengine
import pytest
import torch
from mmengine.logging import MMLogger, print_log

from mae_plugin.engine.terminal import Terminal
from mae_plugin.logs import log

sys.path.insert(0, str(Path(__file__).parents[1] / 'tools'))

from front_door import tiny_config, train, write_images

LIBRARY = torch.__file__
MOST = 25


def shown_by_a_run(monkeypatch, capfd, folder, options=()):
    """Lines of the terminal and of the log file of a real run."""
    images = write_images(folder / 'images')
    config = tiny_config(folder / 'tiny.py', extra="log_level = 'INFO'")
    train(monkeypatch, config, images, folder / 'run', options=('log_level=INFO', *options))
    captured = capfd.readouterr()
    (file,) = (folder / 'run').glob('*/*.log')
    return (captured.out + captured.err).splitlines(), file.read_text()


@pytest.mark.slow
@pytest.mark.parametrize('options', [(), ('runner_type=FlexibleRunner',)])
def test_the_first_screen_of_a_run(monkeypatch, capfd, tmp_path, options):
    lines, file = shown_by_a_run(monkeypatch, capfd, tmp_path, options)
    first = next(i for i, line in enumerate(lines) if 'Epoch(train)' in line)
    assert first < MOST, lines[:first]
    assert [line for line in lines if 'Log: ' in line and '.log' in line]
    for told in (
        'System environment',
        'Config:\n',
        'Hooks will be executed',
        'will be deprecated',
    ):
        assert told in file and told not in '\n'.join(lines)
    assert len(file.splitlines()) > 200
    # What libraries tell of the run, once it goes on.
    assert 'Saving checkpoint' in '\n'.join(lines)


@pytest.fixture
def terminal():
    return Terminal()


def new_logger(folder, name='run'):
    return MMLogger.get_instance(name, log_file=str(folder / 'log'), file_mode='a')


def test_warnings_of_libraries_go_to_the_file(terminal, capfd, tmp_path):
    with terminal.watch():
        warnings.warn_explicit('too early', UserWarning, LIBRARY, 7)  # there is no run yet
        print_log('mmengine says', 'current')
        terminal.attach(new_logger(tmp_path))
        terminal.is_preparing = False
        warnings.warn_explicit('old', FutureWarning, LIBRARY, 7)
        print_log('beware', 'current', logging.WARNING)
        print_log('a score', 'current')
    shown = ''.join(capfd.readouterr())
    assert 'a score' in shown and len(shown.splitlines()) == 1
    file = (tmp_path / 'log').read_text()
    assert f'FutureWarning: old ({LIBRARY}:7)' in file
    assert all(file.count(told) == 1 for told in ('too early', 'mmengine says', 'beware'))
    assert terminal.num_warnings == 3


def test_errors_and_our_own_words_are_shown(terminal, capfd, tmp_path):
    with terminal.watch():
        terminal.attach(logger := new_logger(tmp_path))
        log('ours', logging.WARNING)
        logger.info("the user's own")
        print_log('fatal', 'current', logging.ERROR)
    shown = capfd.readouterr().out
    assert all(told in shown for told in ('ours', "the user's own", 'fatal'))
    assert terminal.num_warnings == 0


def test_warnings_of_users_are_shown_as_ever(terminal):
    with warnings.catch_warnings(record=True) as seen, terminal.watch():
        warnings.simplefilter('always')
        warnings.warn_explicit('mine', UserWarning, '/home/me/parts.py', 3)
        warnings.warn_explicit("a library's", UserWarning, LIBRARY, 3)
    assert [(str(each.message), each.filename) for each in seen] == [('mine', '/home/me/parts.py')]


def test_nothing_stays_behind(terminal, capfd, tmp_path):
    before = warnings.showwarning
    with terminal.watch():
        assert warnings.showwarning is not before
        terminal.attach(logger := new_logger(tmp_path))
    assert warnings.showwarning is before
    assert not [h for h in logger.handlers if terminal.shows in h.filters]
    print_log('mmengine says', 'current')
    assert 'mmengine says' in capfd.readouterr().out


def test_who_is_a_library(terminal):
    assert terminal.is_library(mmengine.__file__) and terminal.is_library(warnings.__file__)
    assert not terminal.is_library(sys.modules['mae_plugin'].__file__)
    assert not terminal.is_library(__file__)


def test_the_package_tells_things_under_its_own_name():
    """mmengine's print_log leaves its own file in the record: it would look like a library's."""
    package = Path(sys.modules['mae_plugin'].__file__).parent
    used = [path.name for path in package.rglob('*.py') if 'print_log(' in path.read_text()]
    assert used == []
