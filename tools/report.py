"""Write the report of a run as one HTML file: curves, pictures over time, scores, configuration.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.report`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.report import main

if __name__ == '__main__':
    main()
