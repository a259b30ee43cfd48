"""Pack a folder of images into tar shards, for disks and networks that dislike small files.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.make_shards`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.make_shards import main

if __name__ == '__main__':
    main()
