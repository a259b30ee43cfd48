"""The C library keeps freed memory: counted in page faults, not in seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

COUNT_FAULTS = """
import ctypes, resource, sys
from mae_plugin.engine.allocator import keep_freed_memory
if sys.argv[1] == 'kept':
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def step():
    pieces = [libc.malloc(24 << 20) for _ in range(8)]
    for piece in pieces:
        ctypes.memset(piece, 1, 24 << 20)
    for piece in pieces:
        libc.free(piece)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc')
def test_a_second_step_finds_its_memory_ready() -> None:
    faults = {}
    for how in ('kept', 'default'):
        done = subprocess.run(
            [sys.executable, '-c', COUNT_FAULTS, how],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            check=True,
        )
        faults[how] = int(done.stdout)
    # Eight pieces of 24 MiB in pages of 4 KiB, or of 2 MiB where the kernel is generous.
    assert faults['default'] >= 8 * 12
    assert faults['kept'] < faults['default'] / 10
