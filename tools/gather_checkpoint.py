"""Make one plain file of a sharded checkpoint, for transfer or for training elsewhere.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.gather_checkpoint`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.gather_checkpoint import main

if __name__ == '__main__':
    main()
