"""For Python started in the folder above a clone: be the package, not a namespace of folders.

There ``import mae_plugin`` finds the clone before anything that is installed.
"""

import importlib.util
import sys
from pathlib import Path

if __name__ == 'mae_plugin':
    folder = Path(__file__).parent / 'mae_plugin'
    spec = importlib.util.spec_from_file_location(
        __name__, folder / '__init__.py', submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[__name__])
