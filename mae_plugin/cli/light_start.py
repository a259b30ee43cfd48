"""Start a run without importing what it does not use.

mmengine imports transformers, where it is installed, to register one optimizer, and torchvision
to log its version; torch's optimizers import its compiler, to tell it to keep out: each a second
or more of every start, on every process.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


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


def spare_the_compiler() -> None:
    """Let torch's optimizers run without importing ``torch._dynamo``; for runs that compile none.

    Their ``step`` imports it to break a graph in two, the rest to be left out of graphs: both mean
    nothing while nothing is compiled. ``torch.compile`` of a model stays as it is.
    """
    import torch

    for optimizer in list(vars(torch.optim).values()):
        if not (isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)):
            continue
        for name, method in list(vars(optimizer).items()):
            code = getattr(method, '__code__', None)
            if code is None or not hasattr(method, '__wrapped__'):
                continue
            if code.co_name == '_use_grad':
                setattr(optimizer, name, _under_grad_of_optimizer(method.__wrapped__))
            elif code.co_filename.endswith('_compile.py'):
                # What the wrapper looks for before it asks the compiler.
                vars(method.__wrapped__).setdefault('__dynamo_disable', method.__wrapped__)


def _under_grad_of_optimizer(step: Callable) -> Callable:
    import torch

    @functools.wraps(step)
    def run(self: 'torch.optim.Optimizer', *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults['differentiable']):
            return step(self, *args, **kwargs)

    return run
