"""Start a run without importing what it does not use.

mmengine imports transformers, where it is installed, to register one optimizer, and torchvision
to log its version: each a second or more of every start, on every process.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Packages not imported yet cannot be imported inside, as if they were not installed."""
    absent = [package for package in packages if package not in sys.modules]
    for package in absent:
        sys.modules[package] = None  # type: ignore[assignment]  # Python's mark for it
    try:
        yield
    finally:
        for package in absent:
            del sys.modules[package]


def describe_environment() -> dict:
    """mmengine's ``collect_env``, with torchvision's version read without importing it."""
    from mmengine.utils.dl_utils import collect_env

    with hidden('torchvision'):
        facts = collect_env()
    if 'TorchVision' not in facts:
        with suppress(metadata.PackageNotFoundError):
            facts['TorchVision'] = metadata.version('torchvision')
    return facts
