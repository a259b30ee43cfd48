"""Shared by all tests."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mae_plugin.cli.torchvision_compat import keep_torchvision_importable

# As in an activated environment: the shell scripts call `python`.
os.environ['PATH'] = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])

# Under nohup or a shell's & SIGINT is ignored, which children inherit; runs here are to heed it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Peers import torchvision, whose wheel may not match torch.
keep_torchvision_importable()


@pytest.fixture(autouse=True)
def own_signal_handlers() -> Iterator[None]:
    """Handlers of a run that was stopped end with its test.

    Processes forked later would inherit them, and no longer end when a pool tells them to.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        if handler is not None:  # installed by Python
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def own_mmengine_globals() -> Iterator[None]:
    """What a Runner leaves behind in the process ends with its test.

    A run sets the default scope, under which other toolboxes' types are looked up, and a logger
    that holds on to the output stream of its time.
    """
    yield
    for manager in (DefaultScope, MMLogger, MessageHub, Visualizer):
        manager._instance_dict.clear()
