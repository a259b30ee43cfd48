"""Write the config that takes a run's checkpoint to your own labelled images.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.start_transfer`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.start_transfer import main

if __name__ == '__main__':
    main()
