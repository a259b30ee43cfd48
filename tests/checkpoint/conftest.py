"""Shared by the tests of loading."""

import logging
from collections.abc import Iterator

import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """Messages logged through mmengine while a test runs."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
