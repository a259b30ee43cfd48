"""Score a checkpoint's frozen features on labelled images: kNN and a quick linear probe.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.probe`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.probe import main

if __name__ == '__main__':
    main()
