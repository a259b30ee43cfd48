"""Features of all images of a folder, as a table, a sheet of neighbours, a map.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.embed`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.embed import main

if __name__ == '__main__':
    main()
