"""Keep a torchvision that does not match torch importable.

torchvision's wheels are built for one build of torch. Beside another one (a CUDA torchvision next
to a CPU torch is the common case) its operator library does not load. torchvision says nothing at
that point, and its import then dies with ``operator torchvision::nms does not exist``: at import
it attaches fake (shape-only) kernels to two operators, whose schemas the missing library would
have defined. Nothing here calls those operators, but mmengine imports torchvision in each Runner
(``collect_env``), and mmpretrain and timm import it at their top, so the mismatch stops runs that
need none of it.

:func:`keep_torchvision_importable` defines the two missing schemas. The operators themselves stay
absent: who calls one gets torchvision's own explanation. The real cure is the torchvision wheel
that belongs to the installed torch. Our tools call it before anything imports torchvision. In a
host's own script ``custom_imports = dict(imports=['mae_plugin.cli.keep_torchvision'])`` in the
config is early enough.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from typing import Any

_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
# The definitions live as long as the object that made them.
_library: Any = None


def keep_torchvision_importable() -> bool:
    """Define the operator schemas that a mismatched torchvision lacks.

    Cheap: without torchvision, or with one that is imported already, it returns at once (and does
    not import torch); otherwise it loads the operator library, as torchvision's import would.

    Returns:
        True if torchvision is mismatched and was mended (by this call or an earlier one), False
        if there is nothing to mend.
    """
    global _library
    if _library is not None:
        return True
    if 'torchvision' in sys.modules:
        return False
    spec = importlib.util.find_spec('torchvision')
    if spec is None or not spec.submodule_search_locations:
        return False

    import torch

    if _operators_load(spec.submodule_search_locations[0]):
        return False
    _library = torch.library.Library('torchvision', 'DEF')
    for schema in _SCHEMAS:
        _library.define(schema)
    return True


def _operators_load(folder: str) -> bool:
    """Load torchvision's operator library from ``folder`` the way torchvision does.

    Args:
        folder: The directory of the torchvision package.

    Returns:
        True if the operators are there afterwards, or if there is no library to load (a build
        without operators defines what it needs itself).
    """
    import torch

    finder = importlib.machinery.FileFinder(
        folder, (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    )
    spec = finder.find_spec('_C')
    if spec is None or spec.origin is None:
        return True
    try:
        torch.ops.load_library(spec.origin)
    except (ImportError, OSError):
        return False
    return True
