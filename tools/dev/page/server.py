"""The page's server, and what a stranger may reach on it."""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from page.visit import PageError, require

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def serve(*checkpoints: Path | str) -> Iterator[str]:
    """The page of some checkpoints; its address.

    Raises:
        PageError: It does not start.
    """
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / 'tools/demo.py'), *map(str, checkpoints)]
    command += ['--port', str(port)]
    with tempfile.TemporaryFile('w+') as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f'http://127.0.0.1:{port}/'
            if not answers(server, address):
                log.seek(0)
                raise PageError(f'{" ".join(command)}\n{log.read()[-2000:]}')
            yield address
        finally:
            server.terminate()
            server.wait()


def answers(server: subprocess.Popen, address: str) -> bool:
    """Whether it answers within two minutes."""
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return True
        except OSError:
            time.sleep(0.5)
    return False


def reach(address: str, paths: list[str]) -> None:
    """Ask for files of this machine in all ways that gradio has or had.

    Raises:
        PageError: One is given.
    """
    doors = ['gradio_api/file=', 'file=', 'gradio_api/file/', 'gradio_api/proxy=', 'static/../']
    doors += ['assets/..%2f..%2f', 'gradio_api/stream/', 'custom_component/']
    for path in paths:
        for door in doors:
            require(status(f'{address}{door}{path}') >= 400, f'{door}{path} can be read')
    endpoints = json.loads(urllib.request.urlopen(f'{address}gradio_api/info').read())
    require(not any(endpoints.values()), f'there are endpoints: {endpoints}')
    config = json.loads(urllib.request.urlopen(f'{address}config').read())
    files = {part['id'] for part in config['components'] if part['type'] == 'file'}
    tried = 0
    for function in config['dependencies']:
        takes_file = bool(files & set(function['inputs']))
        for path in paths:
            told = submit(address, function, path).replace(' ', '')
            taken = '"success":true' in told if takes_file else '"path"' in told
            require(not taken, f'a path was taken: {told}')
            tried += takes_file
    require(tried == len(paths), f'{tried} uploads were tried')
    others = ['docs', 'openapi.json', 'monitoring', 'gradio_api/mcp/', 'gradio_api/vibe-code/']
    for name in others:
        require(status(f'{address}{name}') >= 400, f'{name} can be reached')
    print(f'{len(paths)} files through {len(doors)} doors and in place of an upload: refused')
    print(f'{", ".join(others)}: refused')


def submit(address: str, function: dict, path: str) -> str:
    """Call a function of the page with a path of this machine in place of an upload."""
    session = f'stranger{time.monotonic_ns()}'
    file = dict(path=path, meta={'_type': 'gradio.FileData'})
    data = [file for _ in function['inputs']]
    body = json.dumps(dict(data=data, fn_index=function['id'], session_hash=session)).encode()
    request = urllib.request.Request(
        f'{address}gradio_api/queue/join', body, {'Content-Type': 'application/json'}
    )
    try:
        urllib.request.urlopen(request, timeout=20).close()
        stream = urllib.request.urlopen(
            f'{address}gradio_api/queue/data?session_hash={session}', timeout=20
        )
        told = ''
        for line in stream:
            told += line.decode()
            if 'process_completed' in told or 'close_stream' in told:
                break
        return told
    except urllib.error.HTTPError as error:
        return f'{error.code}'


def status(address: str) -> int:
    """HTTP's answer."""
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
