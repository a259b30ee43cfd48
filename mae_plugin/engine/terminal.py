"""What a run shows on the terminal: what a person who waits for it needs. The log has it all."""

import logging
import os
import site
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import FlexibleRunner, Runner

from mae_plugin.compat import hand_warnings_to

_OURS = f'{Path(__file__).resolve().parents[1]}{os.sep}'


def _library_folders() -> tuple[str, ...]:
    """Where installed packages and Python's own modules lie."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    folders.append(str(Path(mmengine.__file__).parents[1]))  # a folder that nobody registered
    return tuple(f'{folder}{os.sep}' for folder in folders)


class Terminal(Hook):
    """A filter of the log lines on the terminal, and the hook that tells it how far a run is.

    Shown are errors, whatever this package or the user's own code says, and from the first
    iteration on what libraries tell of the run (progress, scores). What they say before that
    (environment, config, order of the hooks), and their warnings at any time, go to the log file
    alone. Who says something is known from the file that a record or a warning names.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.is_preparing = True
        self.num_warnings = 0
        self._libraries = _library_folders()
        self._loggers: list[logging.Logger] = []
        self._has_file = False
        self._unwritten: list[logging.LogRecord] = []

    def shows(self, record: logging.LogRecord) -> bool:
        """Whether the terminal shows a record; for ``logging.Handler.addFilter``."""
        if record.levelno >= logging.ERROR or not self.is_library(record.pathname):
            return True
        is_warning = record.levelno >= logging.WARNING
        if not is_warning and not self.is_preparing:
            return True
        self.num_warnings += is_warning
        if not self._has_file:
            self._unwritten.append(record)
        return False

    def is_library(self, path: str) -> bool:
        """Whether a file is of an installed library, or of Python."""
        return path.startswith(self._libraries) and not path.startswith(_OURS)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Filter inside what is logged and warned of; outside everything is as before."""
        self.attach(MMLogger.get_current_instance())  # for what is said before there is a run
        try:
            with hand_warnings_to(self._warn):
                yield
        finally:
            for logger in self._loggers:
                for handler in logger.handlers:
                    handler.removeFilter(self.shows)

    def _warn(
        self,
        show: Callable[..., None],
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        *rest: Any,
    ) -> None:
        """Show a warning of Python, or log it as a library's."""
        if not self.is_library(filename):
            show(message, category, filename, lineno, *rest)
            return
        logger = self._loggers[-1]
        text = f'{category.__name__}: {message} ({filename}:{lineno})'
        logger.handle(
            logger.makeRecord(logger.name, logging.WARNING, filename, lineno, text, (), None)
        )

    def attach(self, logger: logging.Logger) -> None:
        """Filter what a logger shows; its file gets what was hidden while there was none."""
        self._loggers.append(logger)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                self._has_file = True
                for record in self._unwritten:
                    handler.handle(record)
                self._unwritten = []
            elif isinstance(handler, logging.StreamHandler):
                handler.addFilter(self.shows)

    def runner_class(self, base: type[Runner] | type[FlexibleRunner]) -> Any:
        """A kind of runner whose lines are filtered from the first one on."""
        terminal = self
        if issubclass(base, FlexibleRunner):  # its strategy has the logger

            class Flexible(base):  # type: ignore[misc, valid-type]
                def build_strategy(self, *args: Any, **kwargs: Any) -> Any:
                    strategy = super().build_strategy(*args, **kwargs)
                    terminal.attach(strategy.logger)
                    return strategy

            return Flexible

        class Plain(base):  # type: ignore[misc, valid-type]
            def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
                logger = super().build_logger(*args, **kwargs)
                terminal.attach(logger)
                return logger

        return Plain

    def before_train(self, runner: Runner) -> None:
        """Preparation is over."""
        self._start(runner)

    def before_test(self, runner: Runner) -> None:
        """Preparation is over."""
        self._start(runner)

    def _start(self, runner: Runner) -> None:
        if self.is_preparing:
            hidden = f', {self.num_warnings} warnings of libraries' * bool(self.num_warnings)
            for handler in runner.logger.handlers:
                if isinstance(handler, logging.FileHandler):
                    file = handler.baseFilename.removeprefix(f'{os.getcwd()}{os.sep}')
                    runner.logger.info(f'Log: {file} (also environment, config, hooks{hidden})')
        self.is_preparing = False
