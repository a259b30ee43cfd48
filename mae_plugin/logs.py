"""One line in the log of the run that goes on, under the name of the module that has to say it."""

import logging

from mmengine.logging import MMLogger


def log(message: str, level: int = logging.INFO) -> None:
    """Tell something in the log of the current run; on the terminal where there is no run.

    Unlike mmengine's ``print_log`` it leaves the caller's file in the record, by which the
    terminal tells our lines from those of libraries (:mod:`mae_plugin.engine.terminal`).

    Args:
        message: One line, or several.
        level: Of ``logging``.
    """
    MMLogger.get_current_instance().log(level, message, stacklevel=2)
