"""Write a trained MAE's loss on each image, so that the next run keeps images in proportion to it.

``mae-plugin`` runs the same: :mod:`mae_plugin.cli.score_images`.
"""

import sys
from pathlib import Path

# A clone works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mae_plugin.cli.score_images import main

if __name__ == '__main__':
    main()
