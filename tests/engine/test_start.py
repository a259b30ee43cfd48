"""What a run's start leaves out, and that nobody misses it."""

import sys

import numpy as np
import pytest

from mae_plugin.cli.block_imports import block_imports


def test_blocked_packages_cannot_be_imported_inside_and_can_afterwards():
    sys.modules.pop('this', None)
    with block_imports('this', 'numpy'):
        with pytest.raises(ModuleNotFoundError):
            import this  # noqa: F401
        import numpy as again  # imported before: stays
    assert again is np
    assert 'this' not in sys.modules
