"""``tools/demo.py`` before there is a page: what is missing or taken is told first."""

import socket

import pytest

from mae_plugin.cli.demo import check_port
from mae_plugin.errors import UserError


def test_an_address_that_is_taken_is_told():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf'127.0.0.1:{port} cannot .* --port'):
            check_port('127.0.0.1', port)
    check_port('127.0.0.1', port)
