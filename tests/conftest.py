"""Shared by all tests."""

from collections.abc import Iterator

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mae_plugin.torchvision_compat import keep_torchvision_importable

# Peers import torchvision, whose wheel may not match torch.
keep_torchvision_importable()


@pytest.fixture(autouse=True)
def own_mmengine_globals() -> Iterator[None]:
    """What a Runner leaves behind in the process ends with its test.

    A run sets the default scope, under which other toolboxes' types are looked up, and a logger
    that holds on to the output stream of its time.
    """
    yield
    for manager in (DefaultScope, MMLogger, MessageHub, Visualizer):
        manager._instance_dict.clear()
