"""A page to play with a MAE in the browser.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.demo`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.demo import main

if __name__ == '__main__':
    main()
