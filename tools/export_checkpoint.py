"""Write a checkpoint of any known layout in a peer's layout.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.export_checkpoint`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.export_checkpoint import main

if __name__ == '__main__':
    sys.exit(main())
