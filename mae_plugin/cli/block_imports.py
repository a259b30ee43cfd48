"""Start a run without importing what it does not use.

mmengine imports transformers, where it is installed, to register one optimizer: several seconds of
every start, on every process.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def block_imports(*packages: str) -> Iterator[None]:
    """Packages not imported yet cannot be imported inside, as if they were not installed."""
    absent = [package for package in packages if package not in sys.modules]
    for package in absent:
        sys.modules[package] = None  # type: ignore[assignment]  # Python's mark for it
    try:
        yield
    finally:
        for package in absent:
            del sys.modules[package]
