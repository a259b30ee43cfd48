"""Shared by the tests of loading."""

import http.server
import logging
import threading
import time
from collections.abc import Iterator

import pytest
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader

from mae_plugin.checkpoint.safe_load import use_safe_loading


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


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder served over http: its address, the folder, and the paths asked for."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    folder = tmp_path / 'site'
    folder.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            pass

        def do_GET(self):
            asked.append(self.path)
            time.sleep(0.3)  # long enough for another process to ask as well
            super().do_GET()

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}', folder, asked
        server.shutdown()


@pytest.fixture
def schemes():
    """mmengine's readers, as this process had them."""
    before = dict(CheckpointLoader._schemes)
    use_safe_loading()
    yield
    CheckpointLoader._schemes = before
