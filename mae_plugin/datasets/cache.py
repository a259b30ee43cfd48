"""Where things that can be made again are kept, and under which names."""

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """Where things that can be made again are kept: ``$XDG_CACHE_HOME/mae_plugin``."""
    base = os.environ.get('XDG_CACHE_HOME')
    return (Path(base) if base else Path.home() / '.cache') / 'mae_plugin'


def digest(*names: str) -> str:
    """A file name for some paths or URLs."""
    return hashlib.sha256(b'\0'.join(map(os.fsencode, names))).hexdigest()[:24]
