"""Look at what a model has learned: its reconstructions, its attention or its features.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.visualize`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.visualize import main

if __name__ == '__main__':
    main()
